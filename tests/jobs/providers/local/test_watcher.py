"""The look at which trainings of this machine have something new."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.providers.local.watcher import changed_jobs, ended_jobs
from tests.jobs.providers.local.trainings import ENDLESS, STUBBORN, Trainings


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def test_a_watcher_is_told_of_what_is_new_and_of_nothing_else(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    seen: dict[str, object] = {}
    assert changed_jobs(seen, jobs=trainings.jobs) == [handle.job_id]
    assert changed_jobs(seen, jobs=trainings.jobs) == []
    with (trainings.folder(handle) / "train.log").open("a") as log:
        log.write("Step 1/4\n")
    assert changed_jobs(seen, jobs=trainings.jobs) == [handle.job_id]


def test_a_watcher_is_told_of_the_end_and_then_never_looks_again(trainings: Trainings) -> None:
    handle = trainings.start("")
    trainings.ended(handle)
    seen: dict[str, object] = {}
    assert changed_jobs(seen, jobs=trainings.jobs) == [handle.job_id]
    assert changed_jobs(seen, jobs=trainings.jobs) == []
    assert (seen, list((trainings.jobs / "active").iterdir())) == ({}, [])


def test_a_watcher_is_told_of_a_training_that_died_without_a_word(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    trainings.kill(handle, "runner")
    seen: dict[str, object] = {}
    changed_jobs(seen, jobs=trainings.jobs)
    trainings.kill(handle, "trainer")
    assert changed_jobs(seen, jobs=trainings.jobs) == [handle.job_id]


def test_a_watcher_is_told_of_a_cancellation_until_it_is_seen_through(trainings: Trainings) -> None:
    handle = trainings.start(STUBBORN, text="up")
    seen: dict[str, object] = {}
    changed_jobs(seen, jobs=trainings.jobs)
    trainings.cancel(handle)
    assert changed_jobs(seen, jobs=trainings.jobs) == [handle.job_id]
    assert changed_jobs(seen, jobs=trainings.jobs) == [handle.job_id]


def test_a_watcher_minds_neither_strangers_nor_missing_folders(trainings: Trainings) -> None:
    assert changed_jobs({}, jobs=trainings.jobs) == []
    handle = trainings.start("")
    trainings.ended(handle)
    (trainings.jobs / "active" / "lost+found").mkdir()
    shutil.rmtree(trainings.folder(handle))
    seen: dict[str, object] = {}
    changed_jobs(seen, jobs=trainings.jobs)
    assert changed_jobs(seen, jobs=trainings.jobs) == []


def test_the_look_for_ends_tells_of_an_end_once_and_of_nothing_else(trainings: Trainings) -> None:
    running, ended = trainings.start(ENDLESS, text="up"), trainings.start("")
    trainings.ended(ended)
    seen: dict[str, object] = {}
    assert ended_jobs(seen, jobs=trainings.jobs) == [ended.job_id]
    assert ended_jobs(seen, jobs=trainings.jobs) == []
    assert changed_jobs(seen, jobs=trainings.jobs) == [running.job_id]
    assert [path.name for path in (trainings.jobs / "active").iterdir()] == [running.job_id]


def test_the_look_for_ends_tells_of_what_was_seen_running(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    seen: dict[str, object] = {}
    changed_jobs(seen, jobs=trainings.jobs)
    assert ended_jobs(seen, jobs=trainings.jobs) == []
    trainings.cancel(handle)
    trainings.ended(handle)
    assert ended_jobs(seen, jobs=trainings.jobs) == [handle.job_id]
