"""The run: preprocessing, warm-up, then steps with validations and checkpoints between them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.sample_trainer import checkpoints, pictures
from jobs.sample_trainer.config import Settings
from jobs.sample_trainer.data import HELD_OUT, IMAGES, draw_views, make_images, views_per_step
from jobs.sample_trainer.errors import CheckpointError
from jobs.sample_trainer.model import Denoiser
from jobs.sample_trainer.screen import Screen

VALIDATION_VIEWS = 192
RESULT_FILE = "result.json"

USUAL_LEARNING_RATE = 1e-4
USUAL_RATE = 0.03
SLOWEST_RATE, FASTEST_RATE = 0.2, 4.0


def own_rate(learning_rate: float, width: int) -> float:
    """Return the rate this network learns at, for a rate meant for an adapter of a large model.

    Such rates run from 3e-7 to 1e-2; taken as they are, most would teach a small network nothing in a hundred steps.
    The fourth root keeps their order and brings them within a factor of twenty. A wide network moves further with the
    same step, hence the root of the width.
    """
    factor = math.sqrt(math.sqrt(learning_rate / USUAL_LEARNING_RATE))
    return USUAL_RATE * min(max(factor, SLOWEST_RATE), FASTEST_RATE) / math.sqrt(width)


def rate_share(settings: Settings, step: int) -> float:
    """Return the share of the full learning rate at a step counted from 0: the warm-up's, then the scheduler's."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    gone = step / settings.steps
    if settings.schedule.startswith("cosine"):
        return 0.5 * (1 + math.cos(math.pi * gone))
    if settings.schedule in ("linear", "polynomial"):
        return 1 - gone
    return 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """The content of result.json. Losses are the validation's; seconds are of this process."""

    initial_loss: float
    final_loss: float
    steps: int
    seconds: float


class Training:
    """One run. `stopping` is called after every step: True saves a checkpoint and ends the run."""

    def __init__(self, settings: Settings, output_dir: Path, screen: Screen, stopping: Callable[[], bool]) -> None:
        self.settings = settings
        self.output_dir = output_dir
        self.screen = screen
        self.stopping = stopping
        # Each its own sequence of random numbers: only that of the steps moves on, and is saved.
        self.rng = self._random("steps")
        self.model = Denoiser.untrained(settings.width, self._random("weights"))
        self.initial_loss = math.nan
        self.saved_step: int | None = None
        self.started = time.monotonic()

    def prepare(self, datasets: list[str]) -> None:
        self.screen.say(f"Preprocessing dataset: {IMAGES} made-up images stand in for the real ones")
        for name in datasets:
            self.screen.say(f"Loading data set {name}")
        rng = self._random("images")
        self.images = make_images(IMAGES, rng)
        held_out = make_images(HELD_OUT, rng)
        self.validation = draw_views(held_out, VALIDATION_VIEWS, rng)
        self.screen.count_images(IMAGES)
        self.screen.say(f"Total optimization steps = {self.settings.steps}")

    def resume(self, checkpoint: str) -> None:
        """Continue an earlier run; start anew if `checkpoint` is "latest" and there is none.

        Raises CheckpointError if the named one isn't there, is damaged or doesn't fit the config.
        """
        for path in checkpoints.candidates(self.output_dir, checkpoint):
            try:
                state = checkpoints.load(path)
            except CheckpointError:
                if checkpoint != checkpoints.LATEST:
                    raise
                self.screen.say(f"Loading {path.name} failed: it is damaged")
                continue
            self._restore(state, path)
            self.screen.say(f"Loading {path.name}: going on after step {self.model.step}")
            return
        self.screen.say(f"Nothing to resume from in {self.output_dir}: starting at step 0")

    def warm_up(self) -> None:
        rising = f", then the learning rate over {self.settings.warmup_steps} steps" * bool(self.settings.warmup_steps)
        self.screen.say(f"Warming up: the network on {VALIDATION_VIEWS} images{rising}")
        loss = self._measure()
        if math.isnan(self.initial_loss):
            self.initial_loss = loss

    def train(self) -> Result | None:
        """Run the steps that are left. None: it was stopped, and has saved a checkpoint."""
        self.screen.open_bar(self.model.step, self.settings.steps)
        while self.model.step < self.settings.steps and not self.stopping():
            self._step()
        self.screen.close_bar()
        if self.model.step < self.settings.steps:
            self.save()
            return None
        return self._finish()

    def save(self) -> None:
        if self.saved_step == self.model.step:
            return
        self.screen.say(f"Saving checkpoint at step {self.model.step}")
        folder = checkpoints.save(self.output_dir, self.model.step, self._state(), self.settings.checkpoint_limit)
        self.saved_step = self.model.step
        self.screen.say(f"Saved {folder.name}")
        self.screen.redraw_bar()

    def _step(self) -> None:
        settings = self.settings
        share = rate_share(settings, self.model.step)
        noisy, clean = draw_views(self.images, views_per_step(settings.batch_size), self.rng)
        loss = self.model.learn(noisy, clean, share * own_rate(settings.learning_rate, settings.width))
        step = self.model.step
        self.screen.advance(self._epoch(), loss, share * settings.learning_rate)
        # The end has its own validation and checkpoint.
        if _due(step, settings.validation_interval) and step < settings.steps:
            self._validate()
        if _due(step, settings.checkpoint_interval) and step < settings.steps:
            self.save()

    def _finish(self) -> Result:
        final_loss = self._validate()
        self.save()
        seconds = round(time.monotonic() - self.started, 3)
        result = Result(self.initial_loss, final_loss, self.model.step, seconds)
        checkpoints.write_json(self.output_dir / RESULT_FILE, asdict(result))
        return result

    def _validate(self) -> float:
        self.screen.say(f"Running validation at step {self.model.step}")
        loss = self._measure()
        self.screen.say(f"Validation loss {loss:.4f} at step {self.model.step}")
        pictures.save_pictures(self.output_dir, self.model.step, self.model.denoised(self.validation[0][:2]))
        self.screen.redraw_bar()
        return loss

    def _measure(self) -> float:
        return self.model.loss(*self.validation)

    def _epoch(self) -> int:
        return math.ceil(self.model.step * self.settings.epochs / self.settings.steps)

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self.settings.seed} {purpose}")  # noqa: S311  a run must be repeatable

    def _state(self) -> dict[str, Any]:
        return {
            "seed": self.settings.seed,
            "width": self.settings.width,
            "initial_loss": self.initial_loss,
            "model": self.model.state(),
            "rng": self.rng.getstate(),
        }

    def _restore(self, state: dict[str, Any], path: Path) -> None:
        self._refuse_other_run(state, path)
        try:
            self.model = Denoiser.from_state(state["model"])
            self.initial_loss = float(state["initial_loss"])
            version, numbers, spare = state["rng"]
            self.rng.setstate((version, tuple(numbers), spare))
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(f"The checkpoint {path} is damaged.") from None
        self.saved_step = self.model.step if path.parent == self.output_dir else None

    def _refuse_other_run(self, state: dict[str, Any], path: Path) -> None:
        for key, name in (("seed", "seed"), ("width", "sample_trainer_width")):
            ours = getattr(self.settings, key)
            if state.get(key) != ours:
                raise CheckpointError(
                    f"The checkpoint {path} has {name} {state.get(key)}, the config {ours}: "
                    f"set it back, or train into another folder."
                )


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
