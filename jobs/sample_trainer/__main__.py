"""The command: it reads its arguments, trains, and returns the exit code that says how it went."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from jobs.sample_trainer.config import Settings, read_datasets, read_settings
from jobs.sample_trainer.errors import CheckpointError, ConfigError
from jobs.sample_trainer.screen import Screen
from jobs.sample_trainer.training import Training

FAILED = 1
WRONG_CONFIG = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Remembers a signal until the step at hand is done."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in SIGNALS:
            signal.signal(number, self._remember)

    def is_requested(self) -> bool:
        return self.signal is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sample_trainer", description="Trains a tiny denoiser with a SimpleTuner config."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the training config, a JSON object")
    parser.add_argument("--dataloader", type=Path, metavar="FILE", help="the data sets, a JSON list")
    parser.add_argument("--output-dir", "--output_dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--resume", metavar="latest|PATH", help="instead of the config's resume_from_checkpoint")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    stop = Stop()
    options = parse(arguments)
    try:
        settings = read_settings(options.config)
        datasets = read_datasets(options.dataloader) if options.dataloader else []
        _make_writable(options.output_dir)
        screen = Screen(settings.epochs)
        _show_settings(screen, settings)
        training = Training(settings, options.output_dir, screen, stop.is_requested)
        training.prepare(datasets)
        if checkpoint := options.resume or settings.resume:
            training.resume(checkpoint)
        return _train(training, stop)
    except (ConfigError, CheckpointError) as error:
        return _report_error(f"{error}", WRONG_CONFIG)
    except OSError as error:
        reason = f"{error.strerror or error}: {error.filename or options.output_dir}"
        return _report_error(f"Training failed: {reason}", FAILED)


def _train(training: Training, stop: Stop) -> int:
    training.warm_up()
    result = training.train()
    if result is None:
        assert stop.signal is not None
        step, steps = training.model.step, training.settings.steps
        training.screen.say(f"Stopped by {stop.signal.name} after {step} of {steps} steps; resume with --resume latest")
        return 128 + stop.signal
    losses = f"loss on held-out images {result.initial_loss:.4f} -> {result.final_loss:.4f}"
    training.screen.say(f"Training complete: {losses} ({result.steps} steps in {result.seconds:.1f} s)")
    return 0


def _show_settings(screen: Screen, settings: Settings) -> None:
    names = (("job", "CLOUDTRAIN_JOB_ID"), ("correlation id", "CLOUDTRAIN_CORRELATION_ID"))
    identity = ", ".join(f"{name} {os.environ[variable]}" for name, variable in names if os.environ.get(variable))
    if identity:
        screen.say(f"Training for {identity}")
    screen.say(
        f"Sample trainer: {settings.steps} steps, batch size {settings.batch_size}, "
        f"learning rate {settings.learning_rate:g}, seed {settings.seed}"
    )


def _make_writable(folder: Path) -> None:
    """Create the folder and try to write to it: better to fail now than at the first checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _report_error(message: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"sample_trainer: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
