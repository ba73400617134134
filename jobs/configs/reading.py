"""The settings of a config, in every spelling that a trainer takes.

The one reading of a config: rules, estimates, pages, providers and the sample trainer ask here. Pure: it imports no
Django, so that a trainer's process may read with it. What can't be read for sure is not known, and says why.

Spellings that count as one setting: with and without leading dashes, hyphens for underscores, blanks around the name,
and a shortening that means one option alone, as argparse takes it. SimpleTuner's options are known by name
(`simpletuner-options.json`); of kohya's scripts and ai-toolkit the names below.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jobs.configs.ai_toolkit import datasets_of, has_several_processes, nested_settings, sections_of, training_of
from jobs.configs.option_names import (
    ALIASES,
    DOUBTED,
    LENGTHS,
    OBJECTS,
    SETTING_OF,
    STEP_OPTIONS,
    VALIDATION_OPTIONS,
    full_name,
    meant_by,
    parts_of,
)
from jobs.configs.sizes import PIXELS_A_MEGAPIXEL, SMALLEST_SIDE, frames_given, megapixels, size_class, values_of
from jobs.configs.validations import Validation, validations_of

#: What a database column holds: a larger number of steps is none that any training makes.
LARGEST_NUMBER = 2**31 - 1
FLAGS = {"true": True, "false": False}
#: What decides how long a step takes, and how long a training does: a doubt about one of these is one about its cost.
OF_A_STEP = (
    *("batch_size", "accumulation", "resolution", "frames", "family", "model_type", "adapter", "rank"),
    *STEP_OPTIONS,
    *VALIDATION_OPTIONS,
)
DECISIVE = ("steps", "epochs", *OF_A_STEP)


#: Of a setting that has no number of its own: a flag, a number or a word in lower case.
Scalar: TypeAlias = bool | int | float | str


class ContradictionError(ValueError):
    """One setting is given twice with different values; the message names both spellings."""


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The settings that decide what a training costs and makes. None: not given, or not known for sure.

    `doubts` says by setting why one is not known, in a sentence that names the key.
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    accumulation: int | None = None
    #: The longer side of a picture, in pixels.
    resolution: int | None = None
    #: The one of SIZE_CLASSES that it belongs to, for megapixels too.
    size_class: int | None = None
    #: The size classes of the datasets' own resolutions, in ascending order. They override the config's resolution.
    dataset_classes: tuple[int, ...] = ()
    #: The numbers of frames of the datasets' videos, in ascending order; 0: of a video dataset that doesn't say.
    frames: tuple[int, ...] = ()
    family: str | None = None
    model_type: str | None = None
    adapter: str | None = None
    rank: int | None = None
    #: The settings among STEP_OPTIONS that the config gives.
    step_options: Mapping[str, Scalar] = field(default_factory=dict)
    validations: tuple[Validation, ...] = ()
    resume: str | None = None
    #: As it is written.
    run_name: str | None = None
    doubts: Mapping[str, str] = field(default_factory=dict)

    @property
    def samples_per_step(self) -> int:
        """How many samples a step goes through; a batch or accumulation that isn't given counts as 1."""
        return (self.batch_size or 1) * (self.accumulation or 1)

    @property
    def passes_per_step(self) -> float:
        """How many forward passes of the model its validations and evaluations make for each step, on average."""
        if not self.steps:
            return sum((one.passes / one.interval for one in self.validations), 0.0)
        return sum(one.passes_in(self.steps) for one in self.validations) / self.steps

    @property
    def doubt(self) -> str:
        """Why its time and cost can't be told from the config, in one sentence; empty when they can."""
        return next((self.doubts[setting] for setting in DECISIVE if setting in self.doubts), "")


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config by the full names of its options, without those that are null. Raises ContradictionError."""
    options: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in config.items():
        name = full_name(key)
        if value is None:
            continue
        if name in options and not _same(options[name], value):
            raise ContradictionError(_contradiction(name, spelled[name], key))
        options[name], spelled[name] = value, key
    return options


def keys_of(config: Mapping[str, Any], option: str) -> list[str]:
    """Return the keys of `config` that mean `option`."""
    return [key for key in config if full_name(key) == option]


def value_of(config: Mapping[str, Any], option: str) -> Any:
    """Return the first value that is given for `option`; None when there is none."""
    return next((config[key] for key in keys_of(config, option) if config[key] is not None), None)


def contradictions(config: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that is given twice with different values."""
    pairs_by_name: dict[str, list[tuple[str, Any]]] = {}
    for key, value in config.items():
        if value is not None:
            pairs_by_name.setdefault(full_name(key), []).append((key, value))
    for setting, pair in nested_settings(config).items():
        pairs_by_name.setdefault(ALIASES[setting][0], []).append(pair)
    return [
        sentence for name, pairs in pairs_by_name.items() if len(pairs) > 1 and (sentence := _difference(name, pairs))
    ]


def _difference(name: str, pairs: Sequence[tuple[str, Any]]) -> str:
    first, value = pairs[0]
    return next((_contradiction(name, first, key) for key, other in pairs[1:] if not _same(value, other)), "")


def _contradiction(name: str, first: str, second: str) -> str:
    return f"{name} is set twice with different values, as {first!r} and as {second!r}. Keep one of the two."


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one to a trainer: 10 and "10" are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    number = whole_number(one)
    if number is not None and number == whole_number(other):
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except RecursionError:  # lists in lists, deeper than any setting has them
        return False


def whole_number(value: Any) -> int | None:
    """`value` as a whole number that every trainer reads alike; None for anything else.

    A string of plain digits counts, and a float without a fraction. A boolean, a fraction, an infinity, a sign, digits
    of another script and what no column holds are none.
    """
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER))):
            return None
        value = int(text)
    if isinstance(value, float):
        if not value.is_integer():  # infinities and NaN are none either
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= LARGEST_NUMBER else None


def read_config(config: Mapping[str, Any], datasets: Sequence[Any] = ()) -> ConfigReading:
    """Read the settings of `config`, and the sizes in its dataloader's `datasets`.

    Raises nothing: what contradicts itself is in doubt.
    """
    reader = _Reader(config)
    resolution, size_class = reader.resolution()
    all_datasets = [*datasets, *datasets_of(config)]
    values: dict[str, Any] = {
        "epochs": reader.number("epochs"),
        "batch_size": reader.number("batch_size", least=1),
        "accumulation": reader.number("accumulation", least=1),
        "resolution": resolution,
        "size_class": size_class,
        "dataset_classes": reader.dataset_classes(datasets, datasets_of(config)),
        "frames": reader.frames(all_datasets),
        "rank": reader.number("rank", least=1),
        "step_options": reader.step_options(),
        "validations": validations_of(reader, all_datasets),
        "run_name": reader.text("run_name"),
        **{name: reader.word(name) for name in ("family", "model_type", "adapter", "resume")},
    }
    return ConfigReading(steps=reader.steps(values["epochs"]), **values, doubts=reader.doubts)


class _Reader:
    """One config, by setting: each value with the key that gives it, and what is doubtful about it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.doubts: dict[str, str] = {}
        self._pairs: dict[str, list[tuple[str, Any]]] = {setting: [] for setting in ALIASES}
        for key, value in config.items():
            name = full_name(key)
            if name in SETTING_OF:
                self._pairs[SETTING_OF[name]].append((key, value))
            else:
                self._doubt_key(key, name)
        self._add_nested(nested_settings(config))
        self._doubt_unread(config)
        if has_several_processes(config):
            self.doubts["steps"] = "config.process holds several trainings, whose steps are not added up."

    def number(self, setting: str, *, least: int = 0) -> int | None:
        """The setting as a whole number; None with a doubt when it is given as anything else."""
        key, value = self._one(setting)
        return None if value is None else self._number(setting, key, value, least)

    def _number(self, setting: str, key: str, value: Any, least: int) -> int | None:
        number = whole_number(value)
        if number is None or number < least:
            limits = f"from {least} to {LARGEST_NUMBER:,}"
            self.doubts.setdefault(setting, f"{key} is {_shown(value)}, which is not a whole number {limits}.")
            return None
        return number

    def word(self, setting: str) -> str | None:
        """The setting's text in lower case, as trainers compare it."""
        text = self.text(setting)
        return None if text is None else text.lower()

    def text(self, setting: str) -> str | None:
        """The setting's text; None with a doubt when it is given as anything else."""
        key, value = self._one(setting)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.doubts.setdefault(setting, f"{key} is {_shown(value)}, which is not a text.")
            return None
        return value.strip()

    def steps(self, epochs: int | None) -> int | None:
        """How many steps the training makes. Epochs are no number of steps: the size of the dataset is not known."""
        steps, key = self.number("steps"), self._one("epochs")[0]
        if "epochs" in self.doubts:
            self.doubts.setdefault("steps", self.doubts["epochs"])
        elif epochs and steps:
            both = f"{self._one('steps')[0]} and {key} are both set, and trainers differ in which one counts."
            self.doubts.setdefault("steps", both)
        elif epochs:
            self.doubts.setdefault("steps", f"{key} gives epochs, and how many steps an epoch has is not known.")
        elif not steps:
            self.doubts.setdefault("steps", "max_train_steps is not set.")
        return None if "steps" in self.doubts else steps

    def resolution(self) -> tuple[int | None, int | None]:
        """The longer side of `1024`, `"1024x768"` or `"1024,768"` in pixels, and its class; of megapixels the class."""
        return self._size(*self._one("resolution"))

    def dataset_classes(self, datasets: Sequence[Any], of_ai_toolkit: Sequence[Any] = ()) -> tuple[int, ...]:
        """The size classes that datasets give for themselves, each once. Those of ai-toolkit may give several."""
        sizes = [("resolution of dataset", place, value) for place, value in values_of(datasets, "resolution")]
        for place, value in values_of(of_ai_toolkit, "resolution"):
            values = value if isinstance(value, list) else [value]
            sizes += [("resolution in config.process[0].datasets", place, one) for one in values]
        classes = {self._size(f"{setting} {place}", value)[1] for setting, place, value in sizes}
        return tuple(sorted({size for size in classes if size}))

    def frames(self, datasets: Sequence[Any]) -> tuple[int, ...]:
        """The numbers of frames that datasets give, each once; 0 for one of videos that gives none."""
        counts = [(f"num_frames of dataset {place}", value) for place, value in frames_given(datasets)]
        return tuple(sorted({self._number("frames", key, value, 0) or 0 for key, value in counts}))

    def step_options(self) -> dict[str, Scalar]:
        """Return the settings among STEP_OPTIONS that the config gives."""
        scalars = {setting: self.scalar(setting) for setting in STEP_OPTIONS if setting not in OBJECTS}
        options = {setting: value for setting, value in scalars.items() if value is not None}
        return options | {setting: True for setting in OBJECTS if self.is_given(setting)}

    def flag(self, setting: str) -> bool | None:
        """The setting as true or false; None with a doubt when it is given as anything else."""
        value = self.scalar(setting)
        if value is None or value in (0, 1):
            return None if value is None else bool(value)
        key, _ = self._one(setting)
        self.doubts.setdefault(setting, f"{key} is {_shown(value)}, which is neither true nor false.")
        return None

    def length(self, setting: str) -> int:
        """How many items the setting lists; 0 when it isn't given, and with a doubt when it is no list."""
        key, value = self._one(setting)
        if isinstance(value, list):
            return len(value)
        if value is not None:
            self.doubts.setdefault(setting, f"{key} is {_shown(value)}, which is not a list.")
        return 0

    def sizes(self, setting: str) -> int:
        """How many sizes the setting gives, as in "512x512,1024x1024"."""
        value = self.scalar(setting)
        return 0 if value is None else len(value.split(",")) if isinstance(value, str) else 1

    def is_given(self, *settings: str) -> bool:
        """Whether one of the settings is given, be it as what can't be read."""
        return any(value is not None for setting in settings for _, value in self._pairs[setting])

    def scalar(self, setting: str) -> Scalar | None:
        """The setting as the true, false, number or lower-case word that it is; None with a doubt for anything else."""
        key, value = self._one(setting)
        if isinstance(value, str):
            word = value.strip().lower()
            number = whole_number(word)
            return FLAGS.get(word, word if number is None else number) if word else None
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        self.doubts.setdefault(setting, f"{key} is {_shown(value)}, which is not a single value.")
        return None

    def _size(self, key: str, value: Any) -> tuple[int | None, int | None]:
        if value is None:
            return None, None
        parts = re.split(r"[x,]", value) if isinstance(value, str) else [value]
        sides = [whole_number(part) or 0 for part in parts]
        if 0 < len(sides) <= 2 and min(sides) >= SMALLEST_SIDE:
            return max(sides), size_class(max(sides))
        if area := megapixels(value):
            return None, size_class(math.sqrt(area * PIXELS_A_MEGAPIXEL))
        self.doubts.setdefault("resolution", f"{key} is {_shown(value)}, which is not a size in pixels or megapixels.")
        return None, None

    def _one(self, setting: str) -> tuple[str, Any]:
        """The key that gives `setting`, and its value; of one that is not given its first name and None."""
        pairs = [(key, value) for key, value in self._pairs[setting] if value is not None]
        if not pairs:
            return ALIASES[setting][0], None
        key, value = pairs[0]
        for other_key, other in pairs[1:]:
            if not _same(value, other):
                self.doubts.setdefault(setting, f"{key!r} and {other_key!r} give different values.")
                return key, None
        return key, value

    def _add_nested(self, nested: Mapping[str, tuple[str, Any]]) -> None:
        """Add ai-toolkit's settings. Beside another trainer's, which of them count depends on the trainer."""
        if not nested:
            return
        plain = {setting for setting, pairs in self._pairs.items() if any(value is not None for _, value in pairs)}
        inner = {setting for setting, (_, value) in nested.items() if value is not None}
        for setting in plain ^ inner if plain and inner else ():
            places = ", ".join(key for key, _ in [*self._pairs[setting], *filter(None, [nested.get(setting)])])
            self.doubts[setting] = (
                f"{places} is set beside the settings of another trainer. It is not known which of them count."
            )
        for setting, pair in nested.items():
            self._pairs[setting].append(pair)

    def _doubt_key(self, key: str, name: str) -> None:
        """Doubt the settings that some trainer could read from `key` and another not: letters of another case or
        width, characters that aren't seen, a shortening that means several options, another trainer's name, or more
        written into the key, as in `max_train_steps=5`."""
        parts = parts_of(name)
        for option in {*parts, *meant_by(parts[0] if parts else "")} & DOUBTED.keys():
            self.doubts.setdefault(DOUBTED[option], f"it is not clear whether {key!r} means {option}.")

    def _doubt_unread(self, config: Mapping[str, Any]) -> None:
        """Doubt what stands in a section: kohya's scripts read its keys as plain ones, others pass them over."""
        for place, section in sections_of(config):
            for key in section:
                settings = LENGTHS if section is training_of(config) and key != "steps" else SETTING_OF
                for option in settings.keys() & parts_of(full_name(key)):
                    self.doubts.setdefault(
                        settings[option], f"it is not clear whether {key!r} in {place} means {option}."
                    )


def _shown(value: Any) -> str:
    """What a sentence shows of a value. Nothing of one that holds others: they may lie however deep in each other."""
    if isinstance(value, Mapping | list):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
