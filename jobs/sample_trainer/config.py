"""Reads a SimpleTuner config: the keys that matter here are checked, the dozens of others are ignored.

A key may be written as `jobs.configs.reading` has it. A number may be a string, as some tools write it. null means the
default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.configs.reading import ContradictionError, options_of
from jobs.sample_trainer.data import IMAGES
from jobs.sample_trainer.errors import ConfigError

DEFAULT_LEARNING_RATE = 1e-4
DEFAULT_CHECKPOINT_INTERVAL = 500
# Chosen so that a step takes about 0.3 seconds of one core.
DEFAULT_WIDTH = 128
# Weights and moments of a wider network would make checkpoints of tens of megabytes.
MAX_WIDTH = 1024
# A data set of ours has no text encoder to feed.
NOT_IMAGES = ("text_embeds", "image_embeds")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run does. An interval of 0 means never, a limit of 0 no limit.

    width is the number of hidden units (key `sample_trainer_width`): a step's time grows with
    it, and tests set it low. warmup_steps is at most a tenth of the run.
    """

    steps: int
    epochs: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    batch_size: int
    seed: int
    checkpoint_interval: int
    checkpoint_limit: int
    validation_interval: int
    resume: str | None
    width: int


class Options:
    def __init__(self, config: Mapping[str, Any]) -> None:
        try:
            self.values = options_of(config)
        except ContradictionError as error:
            raise ConfigError(str(error)) from None

    def get(self, *names: str) -> tuple[str, Any]:
        """Return the first of the names that has a value, and the value; else the first name and None."""
        for name in names:
            if self.values.get(name) is not None:
                return name, self.values[name]
        return names[0], None

    def text(self, name: str) -> str:
        _, value = self.get(name)
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""

    def integer(self, *names: str, default: int, least: int | None = 0) -> int:
        """Return a whole number of at least `least`. Raises ConfigError for anything else."""
        name, value = self.get(*names)
        if value is None:
            return default
        number = _number(value)
        if number is None or not number.is_integer() or (least is not None and number < least):
            limit = "" if least is None else f" of at least {least}"
            raise ConfigError(f"{name} must be a whole number{limit}, not {_shown(value)}.")
        return int(number)

    def positive(self, name: str, *, default: float) -> float:
        _, value = self.get(name)
        if value is None:
            return default
        number = _number(value)
        if number is None or number <= 0:
            raise ConfigError(f"{name} must be a number above 0, not {_shown(value)}.")
        return number


def read_settings(path: Path) -> Settings:
    """Read and check a config. Raises ConfigError with a sentence for its author."""
    config = _load(path, "config")
    if not isinstance(config, dict):
        raise ConfigError(f"The config {path} must hold a JSON object, not {_kind(config)}.")
    options = Options(config)
    batch_size = options.integer("train_batch_size", default=1, least=1)
    steps, epochs = _duration(options, batch_size)
    width = options.integer("sample_trainer_width", default=DEFAULT_WIDTH, least=1)
    if width > MAX_WIDTH:
        raise ConfigError(f"sample_trainer_width must be at most {MAX_WIDTH}, not {width}.")
    return Settings(
        steps=steps,
        epochs=epochs,
        learning_rate=options.positive("learning_rate", default=DEFAULT_LEARNING_RATE),
        schedule=options.text("lr_scheduler"),
        # Real configs warm up for longer than they train (400000 steps of 100): that would show a flat line.
        warmup_steps=min(options.integer("lr_warmup_steps", default=0), steps // 10),
        batch_size=batch_size,
        seed=options.integer("seed", default=42, least=None),
        checkpoint_interval=options.integer(
            "checkpoint_step_interval", "checkpointing_steps", default=DEFAULT_CHECKPOINT_INTERVAL
        ),
        checkpoint_limit=options.integer("checkpoints_total_limit", default=0),
        validation_interval=options.integer("validation_step_interval", "validation_steps", default=0),
        resume=options.text("resume_from_checkpoint") or None,
        width=width,
    )


def _duration(options: Options, batch_size: int) -> tuple[int, int]:
    """Return steps and epochs of the run. A given number of steps is one epoch, however long."""
    steps = options.integer("max_train_steps", default=0)
    if steps:
        return steps, 1
    epochs = options.integer("num_train_epochs", default=0)
    if not epochs:
        raise ConfigError("One of max_train_steps and num_train_epochs must be above 0.")
    return epochs * math.ceil(IMAGES / batch_size), epochs


def read_datasets(path: Path) -> list[str]:
    """Return the names of a dataloader file's image data sets. Raises ConfigError if it isn't a list of objects."""
    backends = _load(path, "dataloader")
    if not isinstance(backends, list) or not all(isinstance(backend, dict) for backend in backends):
        raise ConfigError(f"The dataloader {path} must hold a JSON list of objects.")
    names = [backend.get("id") for backend in backends if backend.get("dataset_type") not in NOT_IMAGES]
    return [" ".join(str(name or "unnamed").split()) for name in names]


def _load(path: Path, kind: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"The {kind} {path} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"The {kind} {path} can't be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"The {kind} {path} is not valid JSON: {error.msg} ({place}).") from None
    except (UnicodeDecodeError, RecursionError):
        raise ConfigError(f"The {kind} {path} is not valid JSON.") from None


def _number(value: object) -> float | None:
    """Return a finite number, also from a string; True is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
