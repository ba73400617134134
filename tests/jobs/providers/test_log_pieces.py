"""Keeping the log of a provider that sends only what follows what we have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs import logs, snapshot_fields
from jobs.models import Job
from jobs.providers.base import Snapshot
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus
from jobs.sync.refresh import handle_of

MakeJob = Callable[..., Job]

pytestmark = pytest.mark.django_db


def running(make_job: MakeJob) -> Job:
    job = make_job(provider="replicate", status=JobStatus.RUNNING, external_id="ct-1")
    assert logs.store_log(job, Snapshot("ct-1", JobStatus.RUNNING, log="step 1\n"))
    return job


def test_a_provider_is_told_how_much_we_have(make_job: MakeJob) -> None:
    assert handle_of(running(make_job)).log_size == 7


def test_a_piece_is_appended_where_it_begins(make_job: MakeJob) -> None:
    job = running(make_job)
    assert logs.store_log(job, Snapshot("ct-1", JobStatus.RUNNING, log="step 2\n", log_start=7))
    assert logs.read_log(job).text == "step 1\nstep 2\n"


def test_of_a_piece_that_overlaps_only_the_new_part_is(make_job: MakeJob) -> None:
    job = running(make_job)
    assert logs.store_log(job, Snapshot("ct-1", JobStatus.RUNNING, log="1\nstep 2\n", log_start=5))
    assert not logs.store_log(job, Snapshot("ct-1", JobStatus.RUNNING, log="2\n", log_start=12))
    assert logs.read_log(job).text == "step 1\nstep 2\n"


def test_a_piece_with_what_comes_next_tells_the_progress_and_an_older_one_does_not(make_job: MakeJob) -> None:
    job, progress = running(make_job), Progress(percent=50.0)
    later = Snapshot("ct-1", JobStatus.RUNNING, log="", log_start=7, progress=progress)
    older = Snapshot("ct-1", JobStatus.RUNNING, log="step", log_start=0, progress=progress)
    assert snapshot_fields.progress_fields(job, later) == {"progress": 50.0, "step": None}
    assert snapshot_fields.progress_fields(job, older) == {}
