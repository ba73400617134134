"""The sample trainer, as a process of its own, learns, saves, resumes, stops when told, and says what is wrong."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import pytest

from jobs.curves.series import read_series
from jobs.providers.progress import read_progress
from jobs.sample_trainer.config import read_datasets, read_settings
from jobs.sample_trainer.data import views_per_step
from jobs.sample_trainer.errors import ConfigError
from jobs.sample_trainer.training import own_rate, rate_share

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
DEADLINE_SECONDS = 30

# Four hidden units: a step takes milliseconds.
QUICK = {"max_train_steps": 2, "learning_rate": 1e-4, "seed": 3, "sample_trainer_width": 4}


@dataclass(frozen=True)
class Run:
    """A finished run: its exit code, all it printed, and where it saved."""

    code: int
    output: str
    folder: Path

    @property
    def result(self) -> dict[str, float]:
        result: dict[str, float] = json.loads((self.folder / "result.json").read_text())
        return result

    def checkpoint(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}" / "state.json"

    def checkpoints(self) -> set[str]:
        return {path.name for path in self.folder.glob("checkpoint-*")}


class Trainer:
    """Runs the sample trainer in a folder of its own for each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def command(self, config: object, *arguments: str, output_dir: Path) -> list[str]:
        self.count += 1
        path = self.folder / f"config-{self.count}.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        command = [sys.executable, "-m", "jobs.sample_trainer", "--config", str(path)]
        return [*command, "--output-dir", str(output_dir), *arguments]

    def run(
        self, config: object, *arguments: str, output_dir: Path | None = None, env: dict[str, str] | None = None
    ) -> Run:
        output_dir = output_dir or self.folder / f"output-{self.count}"
        done = subprocess.run(
            self.command(config, *arguments, output_dir=output_dir),
            cwd=ROOT,
            env=os.environ | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE_SECONDS,
        )
        # Not as text, which would turn the bar's carriage returns into line ends.
        return Run(done.returncode, done.stdout.decode(), output_dir)


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One ordinary run of 40 steps, for every test that only looks at it."""
    config = QUICK | {
        "max_train_steps": 40,
        "sample_trainer_width": 8,
        "lr_warmup_steps": 2,
        "checkpoint_step_interval": 20,
        "validation_steps": 10,
    }
    names = {"CLOUDTRAIN_JOB_ID": "job-1", "CLOUDTRAIN_CORRELATION_ID": "c-2"}
    return Trainer(tmp_path_factory.mktemp("trained")).run(config, env=names)


# An ordinary run.


def test_it_trains_to_the_end(trained: Run) -> None:
    assert (trained.code, "Traceback" in trained.output) == (0, False), trained.output


def test_it_lowers_its_loss_below_half(trained: Run) -> None:
    assert 0.8 < trained.result["initial_loss"] < 1.3
    assert trained.result["final_loss"] < trained.result["initial_loss"] / 2


def test_it_tells_its_result(trained: Run) -> None:
    result = trained.result
    assert set(result) == {"initial_loss", "final_loss", "steps", "seconds"}
    losses = f"{result['initial_loss']:.4f} -> {result['final_loss']:.4f}"
    assert f"Training complete: loss on held-out images {losses}" in trained.output


def test_it_saves_between_and_at_the_end(trained: Run) -> None:
    assert trained.checkpoints() == {"checkpoint-20", "checkpoint-40"}


def test_its_progress_reads_as_complete(trained: Run) -> None:
    progress = read_progress(trained.output)
    assert (progress.percent, progress.step, progress.total, progress.epoch) == (100.0, 40, 40, 1)


def test_its_stages_are_read_in_their_order(trained: Run) -> None:
    pieces = trained.output.replace("\r", "\n").splitlines()
    stages = [stage for stage, _ in groupby(filter(None, (read_progress(piece).stage for piece in pieces)))]
    assert stages[:3] == ["Preprocessing", "Warmup", "Training"]
    assert stages[3:] == [
        *("Validation", "Training"),
        *("Validation", "Training", "Saving checkpoint", "Training"),
        *("Validation", "Training"),
        *("Validation", "Saving checkpoint"),
    ]


def test_its_figures_are_read_as_series(trained: Run) -> None:
    series = read_series(trained.output).series
    assert [step for step, _ in series["validation_loss"]] == [10, 20, 30, 40]
    assert series["loss"][-1][0] == 40
    assert series["learning_rate"][-1] == (40, 1e-4)


def test_it_names_the_job_it_works_for(trained: Run) -> None:
    assert trained.output.startswith("Training for job job-1, correlation id c-2\n")


def test_it_imports_nothing_of_the_site() -> None:
    code = "import sys, jobs.sample_trainer.__main__; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=DEADLINE_SECONDS).returncode == 0


# What the config says.


def test_it_reads_the_older_spelling(trainer: Trainer) -> None:
    old = {"--max-train-steps": "3", "--learning_rate": "1e-4", "--checkpointing_steps": 2, "--sample-trainer-width": 4}
    run = trainer.run(old)
    assert (run.code, run.checkpoints()) == (0, {"checkpoint-2", "checkpoint-3"})


def test_it_trains_by_epochs_when_no_steps_are_given(trainer: Trainer) -> None:
    run = trainer.run(QUICK | {"max_train_steps": 0, "num_train_epochs": 2, "train_batch_size": 20})
    assert run.result["steps"] == 4
    assert "Epoch 2/2, Steps: 100%" in run.output


def test_it_names_the_image_data_sets(trainer: Trainer, tmp_path: Path) -> None:
    dataloader = tmp_path / "dataloader.json"
    dataloader.write_text(json.dumps([{"id": "photos \ud800"}, {"id": "texts", "dataset_type": "text_embeds"}]))
    run = trainer.run(QUICK, "--dataloader", str(dataloader))
    assert "Loading data set photos \\ud800\n" in run.output
    assert "texts" not in run.output


def test_it_keeps_no_more_checkpoints_than_it_may(trainer: Trainer) -> None:
    run = trainer.run(QUICK | {"max_train_steps": 5, "checkpoint_step_interval": 1, "checkpoints_total_limit": 2})
    assert run.checkpoints() == {"checkpoint-4", "checkpoint-5"}


@pytest.mark.parametrize("name", ["flux-lora-quick", "sdxl-lora"])
def test_it_reads_our_examples(name: str) -> None:
    assert read_settings(EXAMPLES / f"{name}.json").steps in (40, 100)
    assert read_datasets(EXAMPLES / "dataloader.json") == ["tin-toys-1024"]


def test_a_warm_up_longer_than_the_run_is_shortened(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"max_train_steps": 100, "lr_warmup_steps": 400_000}))
    settings = read_settings(path)
    assert [rate_share(settings, step) for step in (0, 9, 10, 99)] == [0.1, 1.0, 1.0, 1.0]


def test_a_larger_batch_takes_longer_but_not_for_ever() -> None:
    assert [views_per_step(batch) for batch in (1, 2, 4, 4000)] == [192, 224, 288, 288]


def test_a_small_learning_rate_still_learns() -> None:
    slow, usual, fast = (own_rate(rate, 64) for rate in (3e-7, 1e-4, 1.0))
    assert usual / 5 <= slow < usual < fast <= usual * 4


# Resuming.


def test_a_resumed_run_ends_as_the_unbroken_one(trainer: Trainer) -> None:
    whole = trainer.run(QUICK | {"max_train_steps": 6, "checkpoint_step_interval": 3})
    half = trainer.run(QUICK | {"max_train_steps": 3})
    again = trainer.run(QUICK | {"max_train_steps": 6}, "--resume", "latest", output_dir=half.folder)
    assert again.checkpoint(6).read_bytes() == whole.checkpoint(6).read_bytes()
    assert again.result["final_loss"] == whole.result["final_loss"]


def test_it_resumes_from_the_folder_that_is_named(trainer: Trainer, trained: Run) -> None:
    config = QUICK | {"sample_trainer_width": 8, "max_train_steps": 21}
    run = trainer.run(config, "--resume", str(trained.folder / "checkpoint-20"))
    assert "Loading checkpoint-20: going on after step 20\n" in run.output
    assert run.checkpoints() == {"checkpoint-21"}


def test_it_passes_over_a_damaged_checkpoint(trainer: Trainer) -> None:
    run = trainer.run(QUICK | {"checkpoint_step_interval": 1})
    run.checkpoint(2).write_text("{")
    again = trainer.run(QUICK | {"resume_from_checkpoint": "latest"}, output_dir=run.folder)
    assert (again.code, "Loading checkpoint-1: going on after step 1" in again.output) == (0, True)


def test_it_starts_anew_where_there_is_nothing_to_resume(trainer: Trainer) -> None:
    run = trainer.run(QUICK | {"resume_from_checkpoint": "latest"})
    assert (run.code, "starting at step 0" in run.output) == (0, True)


def test_it_resumes_no_run_of_another_config(trainer: Trainer) -> None:
    run = trainer.run(QUICK)
    other = trainer.run(QUICK | {"sample_trainer_width": 5}, "--resume", "latest", output_dir=run.folder)
    assert other.code == 2
    assert "has sample_trainer_width 4, the config 5" in other.output


def test_it_resumes_from_no_missing_folder(trainer: Trainer) -> None:
    run = trainer.run(QUICK, "--resume", "checkpoint-9")
    assert (run.code, "There is no checkpoint to resume from at checkpoint-9." in run.output) == (2, True)


# Stopping.


@pytest.fixture
def endless(trainer: Trainer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run that goes on until somebody stops it; its output folder is `endless`."""
    command = trainer.command(QUICK | {"max_train_steps": 1_000_000}, output_dir=tmp_path / "endless")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        yield process
        process.kill()


def read_until(stream: IO[bytes], word: bytes) -> bytes:
    """What comes from the stream up to the word; fails the test when it doesn't come."""
    seen = b""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while word not in seen:
            assert selector.select(deadline - time.monotonic()), f"no {word!r} in {seen!r}"
            piece = os.read(stream.fileno(), 65536)
            assert piece, f"ended without {word!r}: {seen!r}"
            seen += piece
    return seen


def test_a_terminated_run_saves_and_can_be_resumed(
    endless: subprocess.Popen[bytes], trainer: Trainer, tmp_path: Path
) -> None:
    assert endless.stdout is not None
    read_until(endless.stdout, b"step_loss=")
    endless.send_signal(signal.SIGTERM)
    rest, _ = endless.communicate(timeout=DEADLINE_SECONDS)
    (checkpoint,) = (tmp_path / "endless").glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert (endless.returncode, f"Stopped by SIGTERM after {step} of 1000000 steps".encode() in rest) == (143, True)
    again = trainer.run(QUICK | {"max_train_steps": step + 1}, "--resume", "latest", output_dir=tmp_path / "endless")
    assert (again.code, again.result["steps"]) == (0, step + 1)


# What is wrong.


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is not valid JSON: Expecting property name enclosed in double quotes (line 1, column 2)."),
        ([1], "must hold a JSON object, not a list."),
        ({"max_train_steps": -1}, "max_train_steps must be a whole number of at least 0, not -1."),
        ({"max_train_steps": 0}, "One of max_train_steps and num_train_epochs must be above 0."),
    ],
)
def test_a_wrong_config_is_explained_in_one_line(trainer: Trainer, config: object, message: str) -> None:
    run = trainer.run(config)
    assert run.code == 2
    assert run.output.startswith("sample_trainer: ")
    assert run.output.endswith(f"{message}\n")
    assert run.output.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_train_steps": "many"}, 'max_train_steps must be a whole number of at least 0, not "many".'),
        ({"max_train_steps": 1.5}, "max_train_steps must be a whole number of at least 0, not 1.5."),
        ({"max_train_steps": True}, "max_train_steps must be a whole number of at least 0, not true."),
        ({"max_train_steps": [1]}, "max_train_steps must be a whole number of at least 0, not [1]."),
        ({"max_train_steps": None}, "One of max_train_steps and num_train_epochs must be above 0."),
        ({"learning_rate": 0}, "learning_rate must be a number above 0, not 0."),
        ({"learning_rate": "-1e-4"}, 'learning_rate must be a number above 0, not "-1e-4".'),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0, not NaN."),
        ({"train_batch_size": 0}, "train_batch_size must be a whole number of at least 1, not 0."),
        ({"checkpointing_steps": -5}, "checkpointing_steps must be a whole number of at least 0, not -5."),
        ({"seed": "x" * 100}, 'seed must be a whole number, not "' + "x" * 56 + "...."),
        ({"sample_trainer_width": 100_000}, "sample_trainer_width must be at most 1024, not 100000."),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QUICK | change))
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["{}", "[1]", "[", "\ufffe", "[" * 100_000])
def test_a_wrong_dataloader_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dataloader.json"
    path.write_text(text, encoding="utf-16" if text == "\ufffe" else "utf-8")
    with pytest.raises(ConfigError):
        read_datasets(path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config .*nowhere\.json does not exist"):
        read_settings(tmp_path / "nowhere.json")


def test_a_folder_that_can_not_be_written_fails_the_run(trainer: Trainer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = trainer.run(QUICK, output_dir=tmp_path / "file" / "below")
    assert run.code == 1
    assert run.output == f"sample_trainer: Training failed: Not a directory: {tmp_path}/file/below\n"


def test_an_unknown_argument_is_wrong_usage(trainer: Trainer) -> None:
    assert trainer.run(QUICK, "--bogus").code == 2
