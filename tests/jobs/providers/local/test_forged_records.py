"""Records of its folder that a trainer writes itself: the living process counts, and the job's own memory of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs.models import Job
from jobs.providers.base import Handle, ProviderError
from jobs.providers.local.watcher import changed_jobs, ended_jobs
from jobs.providers.runner import records
from jobs.statuses import JobStatus
from jobs.sync import refresh
from tests.jobs.providers.local.trainings import ENDLESS, SAVING, Trainings, make_spec, until

GOOD_END = {"exit_code": 0, "stopped": False, "error": None, "ended_at": "2026-11-28T17:00:00+00:00"}
FORGES = f"import json; json.dump({GOOD_END}, open('exit.json', 'w')); "


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def status_of(trainings: Trainings, handle: Handle) -> JobStatus | None:
    snapshot = trainings.fetch(handle)
    assert snapshot
    return snapshot.status


def test_an_exit_record_of_a_living_trainer_is_no_end(trainings: Trainings) -> None:
    handle = trainings.start(FORGES + ENDLESS, text="up")
    assert trainings.record(handle, "exit.json") == GOOD_END
    assert status_of(trainings, handle) == JobStatus.RUNNING
    with pytest.raises(ProviderError, match="has not ended"):
        asyncio.run(trainings.provider().delete_files(handle))
    assert not asyncio.run(trainings.provider().read_log(handle)).complete


@pytest.mark.django_db
def test_until_its_true_end_the_job_runs_and_takes_its_slot(
    trainings: Trainings, make_job: Callable[..., Job], settings: Any
) -> None:
    settings.DATA_DIR = trainings.data_dir
    handle = trainings.start(FORGES + ENDLESS, text="up")
    snapshot = trainings.fetch(handle)
    assert snapshot
    fields = {"external_id": handle.job_id, "status": JobStatus.RUNNING, "metadata": snapshot.metadata}
    job = make_job(id=handle.job_id, **fields)

    def status_after_a_poll() -> str:
        refresh.refresh(refresh.active_jobs(), source="poll")
        job.refresh_from_db()
        return job.status

    assert status_after_a_poll() == JobStatus.RUNNING
    trainings.kill(handle, "trainer")
    until(lambda: status_after_a_poll() == JobStatus.FAILED)


def test_the_true_end_replaces_it(trainings: Trainings) -> None:
    handle = trainings.start(FORGES + "raise SystemExit(1)")
    snapshot = trainings.ended(handle)
    assert (snapshot.status, snapshot.error_message) == (JobStatus.FAILED, "The trainer ended with exit code 1.")
    assert trainings.record(handle, "exit.json")["exit_code"] == 1


def test_such_a_training_can_be_cancelled(trainings: Trainings) -> None:
    handle = trainings.start(FORGES + SAVING, text="up")
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED
    assert trainings.log(handle) == "up\nsaved\n"


@pytest.mark.parametrize("killed", [(), ("runner",)])
def test_a_watcher_is_told_of_the_true_end(trainings: Trainings, killed: tuple[str, ...]) -> None:
    handle = trainings.start(FORGES + ENDLESS, text="up")
    seen: dict[str, object] = {}
    changed_jobs(seen, jobs=trainings.jobs)
    for look in (changed_jobs, ended_jobs, changed_jobs):
        assert look(seen, jobs=trainings.jobs) == []
    for whose in killed:
        trainings.kill(handle, whose)
    trainings.kill(handle, "trainer")
    until(lambda: ended_jobs(seen, jobs=trainings.jobs) == [handle.job_id])
    trainings.ended(handle)
    changed_jobs(seen, jobs=trainings.jobs)
    changed_jobs(seen, jobs=trainings.jobs)
    assert list((trainings.jobs / "active").iterdir()) == []


@pytest.mark.parametrize("does", ["os.unlink('process.json')", "shutil.rmtree(os.getcwd())"])
def test_one_that_removes_its_start_at_once_is_known_all_the_same(trainings: Trainings, does: str) -> None:
    spec = make_spec()
    code = f"import os, shutil; {does}; import signal; signal.pause()"
    snapshot = asyncio.run(trainings.provider(code).submit(spec))
    assert (snapshot.status, snapshot.external_id) == (JobStatus.RUNNING, spec.job_id)
    assert snapshot.started_at
    handle = Handle(spec.job_id, spec.job_id, metadata=snapshot.metadata)
    until(lambda: not (trainings.folder(handle) / "process.json").exists())
    assert status_of(trainings, handle) == JobStatus.RUNNING
    trainings.cancel(handle)
    cancelled = replace(handle, cancel_requested_at=timezone.now())
    assert trainings.ended(cancelled).status == JobStatus.CANCELLED
    assert records.start_time(snapshot.metadata["pid"]) is None


SOMEBODY = {"pid": os.getpid(), "start": 1}


@pytest.mark.parametrize(
    "forged", [{"host": "another"}, {"runner": SOMEBODY, "trainer": SOMEBODY}, {"boot_id": ""}, {"trainer": {}}]
)
def test_a_start_record_is_not_believed_against_the_jobs_memory(trainings: Trainings, forged: dict[str, Any]) -> None:
    handle = trainings.start(SAVING, text="up")
    snapshot = trainings.fetch(handle)
    assert snapshot
    remembered = replace(handle, metadata=snapshot.metadata)
    (trainings.folder(handle) / "process.json").write_text(json.dumps({**trainings.record(handle), **forged}))
    assert status_of(trainings, remembered) == JobStatus.RUNNING
    trainings.cancel(remembered)
    assert trainings.ended(remembered).status == JobStatus.CANCELLED
    assert records.start_time(snapshot.metadata["pid"]) is None
