"""Training on this machine, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain_site.enterprise import SAMPLE_TRAINER
from jobs.providers.base import Handle, ProviderError
from jobs.providers.runner import records
from jobs.statuses import JobStatus
from tests.jobs.providers.local.trainings import ENDLESS, SAVING, STUBBORN, Trainings, make_spec

RESTARTED = "This machine was restarted during the training."
OUTSIDER = Handle("01arz3ndektsv4rrffq69g5fav", "01arz3ndektsv4rrffq69g5fav")


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


# How a training ends.


def test_a_training_completes(trainings: Trainings) -> None:
    handle = trainings.start("import os; open('output/model', 'w'); print('Step 4/8 loss=0.5')")
    snapshot = trainings.ended(handle)
    assert snapshot.status == JobStatus.COMPLETED
    assert snapshot.error_message is None
    assert snapshot.output_url == (trainings.folder(handle) / "output").as_uri()
    assert snapshot.started_at and snapshot.completed_at
    assert snapshot.started_at <= snapshot.completed_at


def test_the_trainer_finds_its_config_in_its_folder(trainings: Trainings) -> None:
    script = 'cat "$1" "$2"; pwd; test -d "$3"'
    command = ["sh", "-c", script, "-", "{config}", "{dataloader}", "{output_dir}"]
    handle = trainings.start(command=command)
    assert trainings.ended(handle).status == JobStatus.COMPLETED
    assert '"max_train_steps": 10' in trainings.log(handle)
    assert '"pictures"' in trainings.log(handle)
    assert trainings.log(handle).endswith(f"{trainings.folder(handle)}\n")


def test_a_failure_comes_with_the_trainers_own_words(trainings: Trainings) -> None:
    handle = trainings.start("print('50%|xx| 1/2'); raise SystemExit('max_train_steps must be positive')")
    snapshot = trainings.ended(handle)
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == "The trainer ended with exit code 1: max_train_steps must be positive"


def test_a_traceback_is_told_by_its_last_line(trainings: Trainings) -> None:
    message = trainings.ended(trainings.start("1 / 0")).error_message
    assert message == "The trainer ended with exit code 1: ZeroDivisionError: division by zero"


def test_a_killed_trainer_is_told_as_such(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    os.kill(trainings.pid(handle, "trainer"), signal.SIGKILL)
    message = trainings.ended(handle).error_message
    assert message == "The trainer was killed (SIGKILL), probably because the machine ran out of memory: up"


def test_a_command_that_does_not_exist_fails_the_job(trainings: Trainings) -> None:
    snapshot = trainings.ended(trainings.start(command=["no-such-trainer", "{config}"]))
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message
    assert "'no-such-trainer' could not be started: it does not exist" in snapshot.error_message


def test_a_command_that_is_no_program_fails_the_job(trainings: Trainings, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a program")
    (tmp_path / "text").chmod(0o755)
    message = trainings.ended(trainings.start(command=[str(tmp_path / "text")])).error_message
    assert message
    assert message.endswith("could not be started: it is not a program for this machine.")


@pytest.mark.slow
def test_the_sample_trainer_trains(trainings: Trainings) -> None:
    config = {"max_train_steps": 2, "learning_rate": 1e-3, "seed": 1}
    spec = make_spec(config=config)
    snapshot = asyncio.run(trainings.provider(command=list(SAMPLE_TRAINER)).submit(spec))
    ended = trainings.ended(Handle(spec.job_id, snapshot.external_id))
    assert ended.status == JobStatus.COMPLETED, ended.error_message
    assert ended.progress is not None
    assert (ended.first_step, ended.progress.step, ended.progress.total) == (0, 2, 2)


# Stopping one.


def test_a_cancelled_training_may_save_first(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    trainings.cancel(handle)
    snapshot = trainings.ended(handle)
    assert (snapshot.status, snapshot.error_message) == (JobStatus.CANCELLED, None)
    assert trainings.log(handle) == "up\nsaved\n"


def test_a_stubborn_training_is_killed_after_its_grace(trainings: Trainings) -> None:
    handle = trainings.start(STUBBORN, text="up", grace=0.2)
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED


def test_cancelling_again_changes_nothing(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    for _ in range(3):
        trainings.cancel(handle)
    trainings.ended(handle)
    trainings.cancel(handle)
    assert trainings.log(handle) == "up\nsaved\n"


def test_cancelling_an_ended_training_changes_nothing(trainings: Trainings) -> None:
    handle = trainings.start("")
    trainings.ended(handle)
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.COMPLETED


def test_a_cancellation_that_was_only_written_down_is_seen_through(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    records.write_once(str(trainings.folder(handle) / "cancel.json"), {})
    assert trainings.ended(handle).status == JobStatus.CANCELLED


def test_a_stop_that_nobody_here_asked_for_is_a_failure(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    os.kill(trainings.pid(handle, "runner"), signal.SIGTERM)
    snapshot = trainings.ended(handle)
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message
    assert "stopped from outside" in snapshot.error_message


# Following one that lost its runner, its machine, or its pid.


def test_a_training_whose_runner_was_killed_is_still_followed(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    trainings.kill(handle, "runner")
    snapshot = trainings.fetch(handle)
    assert snapshot
    assert snapshot.status == JobStatus.RUNNING


def test_its_end_is_unknown_then(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    trainings.kill(handle, "runner")
    trainings.kill(handle, "trainer")
    snapshot = trainings.ended(handle)
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message
    assert "exit status is unknown" in snapshot.error_message


def test_it_is_cancelled_without_its_runner(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    trainings.kill(handle, "runner")
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED
    assert trainings.log(handle) == "up\nsaved\n"


def test_it_is_killed_without_its_runner_after_its_grace(trainings: Trainings) -> None:
    handle = trainings.start(STUBBORN, text="up")
    trainings.kill(handle, "runner")
    trainings.cancel(handle, grace=0.1)
    assert trainings.ended(handle, grace=0.1).status == JobStatus.CANCELLED


def test_a_recycled_pid_is_not_mistaken_for_the_job(trainings: Trainings) -> None:
    handle = trainings.start("")
    trainings.ended(handle)
    (trainings.folder(handle) / "exit.json").unlink()
    somebody = {"pid": os.getpid(), "start": 1}
    trainings.forge(handle, runner=somebody, trainer=somebody)
    snapshot = trainings.fetch(handle)
    assert snapshot
    assert snapshot.status == JobStatus.FAILED


def test_a_recycled_pid_is_not_signalled(trainings: Trainings) -> None:
    bystander = trainings.start(ENDLESS, text="up")
    handle = trainings.start(ENDLESS, text="up")
    for whose in ("runner", "trainer"):
        trainings.kill(handle, whose)
    somebody = {"pid": trainings.pid(bystander, "trainer"), "start": 1}
    trainings.forge(handle, runner=somebody, trainer=somebody)
    trainings.cancel(handle)
    trainings.ended(handle)
    snapshot = trainings.fetch(bystander)
    assert snapshot
    assert snapshot.status == JobStatus.RUNNING


def test_a_restart_of_the_machine_fails_the_job(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    trainings.forge(handle, boot_id="another")
    snapshot = trainings.fetch(handle)
    assert snapshot
    assert (snapshot.status, snapshot.error_message) == (JobStatus.FAILED, RESTARTED)


def test_a_damaged_start_record_fails_the_job(trainings: Trainings) -> None:
    handle = trainings.start("")
    trainings.ended(handle)
    (trainings.folder(handle) / "exit.json").write_text("")
    trainings.write_start(handle, "")
    snapshot = trainings.fetch(handle)
    assert snapshot
    assert (snapshot.status, snapshot.error_message) == (JobStatus.FAILED, RESTARTED)
    assert trainings.record(handle, "exit.json")["error"] == RESTARTED


def test_a_job_of_another_machine_is_left_out(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    trainings.forge(handle, host="another")
    assert trainings.fetch(handle) is None


def test_the_end_of_a_job_of_another_machine_is_told(trainings: Trainings) -> None:
    handle = trainings.start("")
    trainings.ended(handle)
    trainings.forge(handle, host="another")
    assert trainings.ended(handle).status == JobStatus.COMPLETED


def test_a_job_without_a_folder_has_its_error(trainings: Trainings) -> None:
    answers = asyncio.run(trainings.provider().fetch([OUTSIDER]))
    assert isinstance(answers[OUTSIDER.job_id], ProviderError)


# What is kept of it, and whether it would take a job.


def test_an_ended_training_is_forgotten(trainings: Trainings) -> None:
    handle = trainings.start("")
    trainings.ended(handle)
    asyncio.run(trainings.provider().delete_files(handle))
    asyncio.run(trainings.provider().delete_files(handle))
    assert [path for path in trainings.jobs.rglob("*") if handle.job_id in str(path)] == []
    assert list((trainings.jobs / "markers").iterdir()) == []


def test_a_running_training_is_not_forgotten(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    with pytest.raises(ProviderError, match="has not ended"):
        asyncio.run(trainings.provider().delete_files(handle))
    assert trainings.folder(handle).exists()


def test_it_says_that_it_would_take_a_job(trainings: Trainings) -> None:
    sentence = asyncio.run(trainings.provider(command=["sh", "{config}"]).validate())
    assert sentence == "Trains on this machine with sh."
    assert not trainings.jobs.exists()


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["no-such-trainer"], "does not exist"),
        (["bin/train"], "must be a name or an absolute path"),
    ],
)
def test_it_says_why_it_would_not_take_one(trainings: Trainings, command: list[str], complaint: str) -> None:
    with pytest.raises(ProviderError, match=complaint):
        asyncio.run(trainings.provider(command=command).validate())
