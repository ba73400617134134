"""A database of an older version, with jobs that run and that are held, brought to this one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import decisions
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs import lifecycle
from jobs.configs.submission import Submission
from jobs.models import Job, KeptCurves, Membership
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from queueing.models import QueueEntry
from tests.old_migrations import go_back_to, upgrade

pytestmark = pytest.mark.django_db(transaction=True)
MakeJob = Callable[..., Job]
NOW = timezone.now()
#: The last one before jobs had their duration and name key in columns.
BEFORE_COLUMNS = ("jobs", "0015_count_and_retries")
FILL: Any = importlib.import_module("jobs.migrations.0017_fill_duration_and_name_key")


def ran(make_job: MakeJob, name: str, seconds: float | None, status: JobStatus = JobStatus.COMPLETED) -> str:
    """A job that ended now, after so many seconds; None: without a start."""
    started = None if seconds is None else NOW - timedelta(seconds=seconds)
    return make_job(config_name=name, status=status, started_at=started, completed_at=NOW).pk


def keys() -> dict[str, tuple[str | None, int | None]]:
    return {pk: (name, ms) for pk, name, ms in Job.objects.values_list("pk", "name_key", "duration_ms")}


def test_it_is_filled_some_rows_at_a_time_and_can_be_started_again(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FILL, "BATCH", 2)
    for number in range(5):
        ran(make_job, f"Job {number}", number)
    written = keys()
    Job.objects.filter(pk__in=sorted(written)[2:]).update(name_key=None, duration_ms=None)
    with CaptureQueriesContext(connection) as queries, connection.schema_editor(atomic=False) as editor:
        FILL.fill(None, editor)
    assert keys() == written
    assert len([query for query in queries.captured_queries if query["sql"].startswith("UPDATE")]) == 3


def test_names_beyond_ascii_get_the_key_that_they_are_searched_by(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold: Any = importlib.import_module("jobs.migrations.0023_fold_name_keys")
    monkeypatch.setattr(fold, "BATCH", 2)
    for name in ("Übung", "ascii", "Größe", "ΑΘΗΝΑ", "Ünlü"):
        make_job(config_name=name)
    written = keys()
    Job.objects.exclude(config_name="ascii").update(name_key="as the version before wrote it")
    with connection.schema_editor(atomic=False) as editor:
        fold.fold(apps, editor)
    assert keys() == written


def test_old_curves_give_their_jobs_the_last_loss_unless_there_is_a_newer_one(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill: Any = importlib.import_module("jobs.migrations.0068_fill_last_loss")
    monkeypatch.setattr(fill, "BATCH", 2)
    jobs = [make_job() for _ in range(7)]
    for number, job in enumerate(jobs[:6]):
        KeptCurves.objects.create(job=job, requested_at=NOW, last_loss=None if number == 2 else number / 4)
    Job.objects.update(last_loss=None)
    Job.objects.filter(pk=jobs[1].pk).update(last_loss=9)
    with CaptureQueriesContext(connection) as queries, connection.schema_editor(atomic=False) as editor:
        fill.fill(None, editor)
    losses = dict(Job.objects.values_list("pk", "last_loss"))
    assert [losses[job.pk] for job in jobs] == [0, 9, None, 0.75, 1, 1.25, None]
    assert len([query for query in queries.captured_queries if "UPDATE" in query["sql"]]) == 3


@pytest.mark.slow
def test_older_jobs_get_their_columns_and_what_runs_or_is_held_goes_on(
    make_job: MakeJob, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FILL, "BATCH", 2)
    for seconds in (0, 1.25, 86_400 * 400, -3, None):
        ran(make_job, f"ÄRger {seconds}", seconds)
    make_job(config_name="Waits")
    running = make_job(config_name="🦊 RUNS", status=JobStatus.RUNNING, external_id="x", started_at=NOW)
    ApprovalRule.objects.create(name="first_job", first_job=True)
    submission = Submission("local", {"max_train_steps": 10}, "Held", "cpu")
    held = submit(SubmissionRequest(alice, Membership.objects.get(user=alice).organization, submission, Source.API)).job
    written = keys()
    assert len({name for name, _ in written.values()}) == 8

    try:
        go_back_to(BEFORE_COLUMNS)
    finally:
        upgrade()

    assert keys() == written
    assert decisions.approve(ApprovalRequest.objects.get(), user=bob, source=Source.API)
    assert QueueEntry.objects.get(job=held).status == "pending"
    end = Snapshot("x", JobStatus.COMPLETED, completed_at=NOW + timedelta(seconds=2))
    assert lifecycle.apply_snapshot(Job.objects.get(pk=running.pk), end, source=Source.POLL)
    assert keys() == {**written, running.pk: ("🦊 runs", 2000)}
