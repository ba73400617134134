"""Trainings whose folder vanishes: with their processes, or from under them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs import maintenance
from jobs.models import Job
from jobs.providers.base import Handle, ProviderError
from jobs.providers.runner import records
from jobs.statuses import ACTIVE, TERMINAL, JobStatus
from jobs.sync import refresh
from tests.jobs.providers.local.trainings import ENDLESS, SAVING, STUBBORN, Trainings, make_spec, until

VANISHED = "The training's folder was removed and its process has ended."

#: Makes the folder that it saves in, as trainers do.
SAVING_IN_FOLDER = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print('up', flush=True);"
    "signal.sigwait({15}); os.makedirs(sys.argv[1] + '/checkpoint')"
)

MakeJob = Callable[..., Job]


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


@pytest.fixture
def site(trainings: Trainings, settings: Any) -> Trainings:
    """The trainings of the site's own data folder."""
    settings.DATA_DIR = trainings.data_dir
    return trainings


def start_remembered(trainings: Trainings, code: str = ENDLESS, **options: Any) -> Handle:
    """Start a training, and return its handle with what its job remembers of it."""
    handle = trainings.start(code, text="up", **options)
    snapshot = trainings.fetch(handle)
    assert snapshot
    return replace(handle, metadata=snapshot.metadata)


def remove_folder(trainings: Trainings, handle: Handle) -> None:
    shutil.rmtree(trainings.folder(handle))


def kill_remembered(handle: Handle, *whose: str) -> None:
    for name in whose:
        kill(handle.metadata["process"][name]["pid"])


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: records.start_time(pid) is None)


def test_one_without_folder_and_process_has_failed(trainings: Trainings, caplog: pytest.LogCaptureFixture) -> None:
    handle = start_remembered(trainings)
    remove_folder(trainings, handle)
    kill_remembered(handle, "runner", "trainer")
    with caplog.at_level(logging.WARNING):
        snapshot = trainings.fetch(handle)
    assert snapshot
    assert (snapshot.status, snapshot.error_message) == (JobStatus.FAILED, VANISHED)
    assert snapshot.completed_at
    assert [record.message for record in caplog.records] == ["The folder of a training is gone"]


def test_one_that_still_trains_is_followed_by_its_process(trainings: Trainings) -> None:
    handle = start_remembered(trainings)
    remove_folder(trainings, handle)
    assert (running := trainings.fetch(handle)) and running.status == JobStatus.RUNNING
    kill_remembered(handle, "runner")
    assert (running := trainings.fetch(handle)) and running.status == JobStatus.RUNNING
    kill_remembered(handle, "trainer")
    assert (ended := trainings.fetch(handle)) and ended.status == JobStatus.FAILED


@pytest.mark.parametrize("killed", [(), ("runner",)])
def test_cancelling_one_stops_its_process_group(trainings: Trainings, killed: tuple[str, ...]) -> None:
    handle = start_remembered(trainings, SAVING)
    remove_folder(trainings, handle)
    kill_remembered(handle, *killed)
    trainings.cancel(handle)
    handle = replace(handle, cancel_requested_at=timezone.now())
    snapshot = trainings.ended(handle)
    assert (snapshot.status, snapshot.error_message) == (JobStatus.CANCELLED, None)
    until(lambda: records.start_time(handle.metadata["pid"]) is None)


@pytest.mark.parametrize("killed", [(), ("runner",)])
def test_cancelling_one_whose_trainer_saves_in_a_new_folder_is_a_cancellation(
    trainings: Trainings, killed: tuple[str, ...]
) -> None:
    handle = start_remembered(
        trainings, SAVING_IN_FOLDER, command=["{python}", "-S", "-c", SAVING_IN_FOLDER, "{output_dir}"]
    )
    remove_folder(trainings, handle)
    kill_remembered(handle, *killed)
    handle = replace(handle, cancel_requested_at=timezone.now())
    trainings.cancel(handle)
    snapshot = trainings.ended(handle)
    assert (trainings.folder(handle) / "output" / "checkpoint").is_dir()
    assert (snapshot.status, snapshot.error_message) == (JobStatus.CANCELLED, None)


def test_a_stop_from_outside_is_no_cancellation_by_one_that_is_asked_for_later(trainings: Trainings) -> None:
    handle = start_remembered(trainings, SAVING)
    os.kill(handle.metadata["process"]["runner"]["pid"], signal.SIGTERM)
    assert trainings.ended(handle).status == JobStatus.FAILED
    assert trainings.ended(replace(handle, cancel_requested_at=timezone.now())).status == JobStatus.FAILED


def test_a_stubborn_one_is_killed_after_its_grace(trainings: Trainings) -> None:
    handle = start_remembered(trainings, STUBBORN)
    remove_folder(trainings, handle)
    kill_remembered(handle, "runner")
    handle = replace(handle, cancel_requested_at=timezone.now())
    trainings.cancel(handle, grace=0.1)
    assert trainings.ended(handle, grace=0.1).status == JobStatus.CANCELLED


def test_a_recycled_pid_is_neither_followed_nor_signalled(trainings: Trainings) -> None:
    bystander = start_remembered(trainings)
    handle = start_remembered(trainings)
    remove_folder(trainings, handle)
    kill_remembered(handle, "runner", "trainer")
    somebody = {"pid": bystander.metadata["pid"], "start": 1}
    process = {**handle.metadata["process"], "runner": somebody, "trainer": somebody}
    forged = replace(handle, metadata={**handle.metadata, "process": process})
    trainings.cancel(forged)
    assert (snapshot := trainings.fetch(forged)) and snapshot.status == JobStatus.FAILED
    assert (running := trainings.fetch(bystander)) and running.status == JobStatus.RUNNING


def test_one_of_another_machine_is_left_alone(trainings: Trainings) -> None:
    handle = start_remembered(trainings)
    remove_folder(trainings, handle)
    elsewhere = replace(handle, metadata={**handle.metadata, "host": "another"})
    with pytest.raises(ProviderError, match="does not have the job"):
        trainings.cancel(elsewhere)
    answers = asyncio.run(trainings.provider().fetch([elsewhere]))
    assert isinstance(answers[handle.job_id], ProviderError)
    assert records.start_time(handle.metadata["pid"]) is not None


def test_one_of_a_release_that_kept_no_start_times_has_ended(trainings: Trainings) -> None:
    old = {"host": records.host_name(), "pid": os.getpid()}
    handle = Handle("01arz3ndektsv4rrffq69g5fav", "01arz3ndektsv4rrffq69g5fav", metadata=old)
    assert (snapshot := trainings.fetch(handle)) and snapshot.error_message == VANISHED


@pytest.mark.parametrize("lost", ["process.json", "train.log"])
def test_a_lost_record_is_no_lost_training(trainings: Trainings, lost: str) -> None:
    handle = start_remembered(trainings)
    (trainings.folder(handle) / lost).unlink()
    assert (running := trainings.fetch(handle)) and running.status == JobStatus.RUNNING
    kill_remembered(handle, "runner", "trainer")
    assert trainings.ended(handle).status == JobStatus.FAILED


# As the site sees them.


def store(make_job: MakeJob, trainings: Trainings, code: str) -> Job:
    """A running job, as the dispatcher stores it once its training has started."""
    spec = make_spec()
    snapshot = asyncio.run(trainings.provider(code).submit(spec))
    fields = {"started_at": snapshot.started_at, "metadata": snapshot.metadata}
    return make_job(id=spec.job_id, external_id=spec.job_id, status=JobStatus.RUNNING, **fields)


def poll() -> bool:
    """Poll once. True: no job is active any more, so that every slot is free."""
    refresh.refresh(refresh.active_jobs(), source="poll")
    return not Job.objects.filter(status__in=ACTIVE).exists()


@pytest.mark.django_db
def test_a_poll_ends_the_job(site: Trainings, make_job: MakeJob) -> None:
    job = store(make_job, site, ENDLESS)
    shutil.rmtree(site.jobs / job.pk)
    site_handle = refresh.handle_of(job)
    poll()
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING
    kill_remembered(site_handle, "runner", "trainer")
    poll()
    job.refresh_from_db()
    assert (job.status, job.error_message) == (JobStatus.FAILED, VANISHED)


@pytest.mark.django_db
def test_the_upkeep_ends_the_job_where_nothing_polls(site: Trainings, make_job: MakeJob) -> None:
    job = store(make_job, site, ENDLESS)
    assert maintenance.check_vanished() == 0
    shutil.rmtree(site.jobs / job.pk)
    kill_remembered(refresh.handle_of(job), "runner", "trainer")
    assert maintenance.check_vanished() == 1
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED


@pytest.mark.django_db
def test_a_cancel_ends_the_job(site: Trainings, make_job: MakeJob) -> None:
    job = store(make_job, site, ENDLESS)
    shutil.rmtree(site.jobs / job.pk)
    job.cancel_requested_at = timezone.now()
    job.save()
    assert refresh.cancel_at_providers([job]) == [job]
    until(poll)
    assert Job.objects.get().status == JobStatus.CANCELLED


@pytest.mark.django_db
def test_an_ended_job_whose_files_were_removed_stays_as_it_ended(site: Trainings, make_job: MakeJob) -> None:
    metadata = {"host": records.host_name(), "pid": os.getpid()}
    job = make_job(status=JobStatus.COMPLETED, metadata=metadata)
    Job.objects.filter(pk=job.pk).update(external_id=job.pk)
    job.refresh_from_db()
    assert isinstance(asyncio.run(site.provider().fetch([refresh.handle_of(job)]))[job.pk], ProviderError)


@pytest.mark.slow
@pytest.mark.django_db
def test_after_a_storm_none_is_running_for_ever(site: Trainings, make_job: MakeJob) -> None:
    dice = random.Random(15)
    jobs = [store(make_job, site, "import time; print('up', flush=True); time.sleep(0.5)") for _ in range(30)]
    for job in dice.sample(jobs, 24):
        remove_something(dice, site.jobs / job.pk, refresh.handle_of(job))
    until(poll)
    assert Job.objects.filter(status__in=TERMINAL).count() == 30
    assert Job.objects.filter(status=JobStatus.COMPLETED).count() >= 6


def remove_something(dice: random.Random, folder: Path, handle: Handle) -> None:
    match dice.choice(["folder", "log", "claim", "runner", "trainer", "folder and processes", "folder and runner"]):
        case "log":
            (folder / records.LOG).unlink()
        case "claim":
            (folder / records.CLAIM).unlink()
        case what:
            if "folder" in what:
                shutil.rmtree(folder)
            kill_remembered(handle, *[name for name in ("runner", "trainer") if name in what or "processes" in what])
