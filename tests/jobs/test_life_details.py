"""The verbs of a job's life, in detail: which rows they leave alone, what they put on record, and whom they tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import OrmQ

from cloudtrain_site.states import SYSTEM, Actor, Change, Source
from jobs import lifecycle, publishing, signals
from jobs.configs.submission import Submission
from jobs.datasets import staging as job_staging
from jobs.models import Job, JobEvent, LogPiece, Organization
from jobs.providers.base import Snapshot
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus
from tests.events import published_events
from tests.jobs.sync.test_adoption import adopt

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
RUNNING, QUEUED, COMPLETED = JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.COMPLETED
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def changes(django_capture_on_commit_callbacks: Any) -> Iterator[list[Change]]:
    """The changes that the rooms above are told of."""
    changes: list[Change] = []

    def listen(*, change: Change, **kwargs: Any) -> None:
        changes.append(change)

    signals.job_status_changed.connect(listen)
    yield changes
    signals.job_status_changed.disconnect(listen)


def create(alice: User, acme: Organization) -> Job:
    submission = Submission(provider="local", config={}, config_name="flux", hardware_profile="cpu")
    return lifecycle.create(submission, organization=acme, user=alice, source=Source.API, estimated_cost=None)


def history() -> list[tuple[str, str, str, str]]:
    return list(JobEvent.objects.order_by("id").values_list("old", "new", "actor", "reason"))


def crash(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("a bug")


def test_a_new_job_and_a_found_one_are_told_of(
    alice: User, acme: Organization, changes: list[Change], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        create(alice, acme)
        adopt(acme, Snapshot("x-1", RUNNING))
    assert [(change.old, change.new) for change in changes] == [("", "pending"), ("", "running")]
    assert history() == [
        ("", "pending", "alice", "submitted"),
        ("", "running", "replicate", "found at replicate as x-1"),
    ]
    assert published_events().count() == 2


def test_a_job_that_cannot_be_put_on_record_is_not_made(
    alice: User, acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "record", crash)
    with pytest.raises(RuntimeError):
        create(alice, acme)
    with pytest.raises(RuntimeError):
        adopt(acme, Snapshot("x-1", RUNNING))
    assert not Job.objects.exists()


def test_of_two_who_begin_a_submission_one_wins(make_job: MakeJob) -> None:
    make_job()
    first, second = Job.objects.get(), Job.objects.get()
    assert lifecycle.begin_submission(first)
    kept = Job.objects.get()
    assert first.submission_marker == kept.submission_marker is not None
    assert first.submission_started_at == kept.submission_started_at is not None
    assert not lifecycle.begin_submission(second)
    assert Job.objects.get().submission_marker == first.submission_marker


def test_whether_a_submission_may_go_on_is_asked_of_its_own_job(make_job: MakeJob) -> None:
    ended, _ = make_job(status=JobStatus.FAILED, submission_marker="ct-1"), make_job(submission_marker="ct-2")
    assert not lifecycle.may_continue(ended)


@pytest.mark.parametrize(
    ("reported", "status"), [(None, QUEUED), (JobStatus.PENDING, QUEUED), (QUEUED, QUEUED), (RUNNING, RUNNING)]
)
def test_what_a_provider_took_is_queued_at_least(
    make_job: MakeJob,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
    reported: JobStatus | None,
    status: JobStatus,
) -> None:
    job = make_job(submission_started_at=timezone.now())
    with caplog.at_level("INFO"), django_capture_on_commit_callbacks(execute=True):
        assert lifecycle.mark_submitted(job, Snapshot("x-1", reported), actor=SYSTEM)
        assert not lifecycle.mark_submitted(job, Snapshot("x-2", reported), actor=SYSTEM)
    assert Job.objects.get().status == status
    assert [record.message for record in caplog.records].count("Job accepted by the provider") == 1


@pytest.mark.parametrize(
    ("submitted", "started", "queued"),
    [(None, None, 0), (None, 30, 0), (30, None, 0), (30, 20, 20), (20, 30, 20), (600, 500, 60), (600, 50, 50)],
)
def test_when_a_job_counts_as_queued(
    make_job: MakeJob, submitted: int | None, started: int | None, queued: int
) -> None:
    """In seconds before now. Copies that later attempts made are recognized up to a minute before the answer."""

    def ago(seconds: int | None) -> datetime | None:
        return None if seconds is None else timezone.now() - timedelta(seconds=seconds)

    job = make_job(submission_started_at=ago(submitted))
    assert lifecycle.mark_submitted(job, Snapshot("x-1", RUNNING, started_at=ago(started)), actor=SYSTEM)
    queued_at = Job.objects.get().queued_at
    assert queued_at is not None
    assert abs((timezone.now() - queued_at).total_seconds() - queued) < 5


class TestFinalDetails:
    def test_are_taken_by_the_ended_job_alone(self, make_job: MakeJob) -> None:
        job, other = (make_job(status=COMPLETED, external_id=name) for name in ("x-1", "x-2"))
        assert lifecycle.apply_final_details(job, Snapshot("x-1", COMPLETED, cost_usd=Decimal(2)))
        assert not lifecycle.apply_final_details(
            Job.objects.get(pk=job.pk), Snapshot("x-1", COMPLETED, cost_usd=Decimal(2))
        )
        assert dict(Job.objects.values_list("pk", "cost_usd")) == {job.pk: Decimal(2), other.pk: Decimal(0)}

    def test_are_not_those_of_a_moment_before_the_end(self, make_job: MakeJob) -> None:
        job = make_job(status=COMPLETED)
        for status in (RUNNING, None):
            assert not lifecycle.apply_final_details(job, Snapshot("x-1", status, cost_usd=Decimal(2)))
        assert Job.objects.get().cost_usd == 0

    def test_are_not_for_a_job_that_goes_on(self, make_job: MakeJob) -> None:
        job = make_job(status=RUNNING)
        assert not lifecycle.apply_final_details(job, Snapshot("x-1", COMPLETED, cost_usd=Decimal(2)))
        assert Job.objects.get().cost_usd == 0

    def test_change_no_error_and_without_a_start_no_duration(self, make_job: MakeJob) -> None:
        ended = timezone.now()
        job = make_job(status=JobStatus.FAILED, error_message="out of memory", started_at=ended - AN_HOUR)
        before = Job.objects.get().duration_ms
        late_snapshot = Snapshot("x-1", JobStatus.FAILED, error_message="another word", cost_usd=Decimal(2))
        assert lifecycle.apply_final_details(job, late_snapshot)
        kept = Job.objects.get()
        assert (kept.error_message, kept.duration_ms, kept.cost_usd) == ("out of memory", before, Decimal(2))


@pytest.mark.parametrize(("provider", "is_due"), [("replicate", True), ("local", False)])
def test_the_log_is_due_at_once_when_the_job_has_ended(make_job: MakeJob, provider: str, is_due: bool) -> None:
    job = make_job(status=QUEUED, provider=provider, external_id="x-1")
    lifecycle.apply_snapshot(job, Snapshot("x-1", RUNNING), source=Source.POLL)
    assert Job.objects.get().log_due_at is None
    lifecycle.apply_snapshot(Job.objects.get(), Snapshot("x-1", COMPLETED), source=Source.POLL)
    due = Job.objects.get().log_due_at
    assert (due is not None and due <= timezone.now()) is is_due


def test_a_job_that_never_ran_has_no_start(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    job = make_job(status=QUEUED, external_id="x-1")
    with caplog.at_level("INFO"):
        assert lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.FAILED), source=Source.POLL)
    kept = Job.objects.get()
    assert (kept.started_at, kept.duration_ms) == (None, None)
    assert "Job is now failed" in caplog.text


def test_a_move_that_another_made_first_is_not_logged(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    stale = make_job(status=RUNNING, external_id="x-1")
    Job.objects.update(status=COMPLETED, completed_at=timezone.now())
    with caplog.at_level("INFO"):
        assert not lifecycle.apply_snapshot(stale, Snapshot("x-1", JobStatus.FAILED), source=Source.POLL)
    assert "Job is now" not in caplog.text


class TestProgress:
    def report(self, job: Job, percent: float) -> None:
        snapshot = Snapshot(job.external_id or "", RUNNING, progress=Progress(percent=percent))
        lifecycle.apply_snapshot(Job.objects.get(pk=job.pk), snapshot, source=Source.POLL)

    @pytest.mark.parametrize(("seconds", "times"), [(0.5, 1), (1.2, 2)])
    def test_is_told_again_after_a_second(self, make_job: MakeJob, seconds: float, times: int) -> None:
        job, other = (make_job(status=RUNNING, external_id=name) for name in ("x-1", "x-2"))
        self.report(job, 10.0)
        assert list(Job.objects.exclude(progress_told_at=None)) == [job]
        Job.objects.filter(pk=job.pk).update(progress_told_at=timezone.now() - timedelta(seconds=seconds))
        self.report(job, 20.0)
        assert published_events().count() == times
        self.report(other, 10.0)
        assert published_events().count() == times + 1

    def test_is_told_when_it_is_progress(self, make_job: MakeJob) -> None:
        job = make_job(status=RUNNING, external_id="x-1")
        snapshot = Snapshot("x-1", RUNNING, output_url="https://example.org")
        lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)
        kept = Job.objects.get()
        assert (kept.output_url, kept.last_synced_at is not None) == ("https://example.org", True)
        assert not published_events().exists()

    def test_that_cannot_be_told_is_not_written(self, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
        job = make_job(status=RUNNING, external_id="x-1")
        staging = make_job(status=JobStatus.UPLOADING)
        monkeypatch.setattr(publishing, "publish", crash)
        with pytest.raises(RuntimeError):
            self.report(job, 10.0)
        with pytest.raises(RuntimeError):
            job_staging.record_staging_progress(staging, 10.0, "1 of 10 MB")
        assert set(Job.objects.values_list("progress", flat=True)) == {None}


class TestCancelling:
    def cancel(self, job: Job, reason: str = "") -> bool:
        return lifecycle.request_cancel(job, actor=Actor(name="alice"), source=Source.API, reason=reason)

    def test_one_that_a_provider_has_is_asked_for_though_we_did_not_submit_it(self, make_job: MakeJob) -> None:
        job, other = (make_job(status=QUEUED, external_id=name) for name in ("x-1", "x-2"))
        assert self.cancel(job, "wrong data")
        kept = Job.objects.get(pk=job.pk)
        assert (kept.status, kept.cancel_requested_by, kept.cancel_requested_at is not None) == (
            "queued",
            "alice",
            True,
        )
        assert Job.objects.get(pk=other.pk).cancel_requested_at is None
        assert history() == [("queued", "queued", "alice", "cancel requested: wrong data")]
        assert self.cancel(job)
        assert len(history()) == 1

    def test_one_that_nobody_has_says_so(self, make_job: MakeJob) -> None:
        assert self.cancel(make_job())
        assert history() == [("pending", "cancelled", "alice", "cancelled before it was started")]

    def test_is_put_on_record_with_the_status_of_now(self, make_job: MakeJob) -> None:
        stale = make_job(submission_started_at=timezone.now())
        Job.objects.update(status=RUNNING, external_id="x-1")
        assert self.cancel(stale)
        assert history() == [("running", "running", "alice", "cancel requested")]

    def test_that_cannot_be_put_on_record_is_not_noted(
        self, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running, ended = make_job(status=RUNNING, external_id="x-1"), make_job(status=COMPLETED)
        monkeypatch.setattr(Job, "record", crash)
        with pytest.raises(RuntimeError):
            self.cancel(running)
        with pytest.raises(RuntimeError):
            lifecycle.delete(ended, actor=SYSTEM, source=Source.API)
        assert not Job.objects.exclude(cancel_requested_at=None).exists()
        assert not Job.objects.exclude(deleted_at=None).exists()


def test_a_deletion_is_on_record_with_the_status_of_now(make_job: MakeJob) -> None:
    stale = make_job(status=RUNNING)
    Job.objects.update(status=COMPLETED, completed_at=timezone.now())
    assert lifecycle.delete(stale, actor=SYSTEM, source=Source.API)
    assert history() == [("completed", "completed", "system", "deleted")]


def test_what_ends_along_with_a_job_is_told(
    make_job: MakeJob, changes: list[Change], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert lifecycle.finish(
            make_job(), JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no", along=("queue_entry",)
        )
    assert [change.along for change in changes] == [("queue_entry",)]


def test_a_deleted_jobs_log_goes_and_is_never_due_again(
    make_job: MakeJob, django_capture_on_commit_callbacks: Any
) -> None:
    deleted, other = (make_job(status=JobStatus.FAILED, log_due_at=timezone.now()) for _ in range(2))
    for job in (deleted, other):
        LogPiece.objects.create(job=job, start=0, end=4, text="one\n")
    with django_capture_on_commit_callbacks(execute=True):
        assert lifecycle.delete(deleted, actor=SYSTEM, source=Source.API)
    assert list(LogPiece.objects.values_list("job", flat=True)) == [other.pk]
    assert list(Job.objects.exclude(log_due_at=None)) == [other]
    assert Job.objects.get(deleted_at=None) == other
    assert [(task.func(), task.args()) for task in OrmQ.objects.all()] == [("jobs.tasks.clear_away", (deleted.pk,))]


def test_a_transfer_begins_once_and_not_after_a_cancel(make_job: MakeJob) -> None:
    job, cancelled = make_job(), make_job(cancel_requested_at=timezone.now())
    begin = partial(job_staging.begin_staging, stage="Uploading dataset", actor=SYSTEM)
    assert begin(job)
    assert begin(Job.objects.get(pk=job.pk)), "and goes on where it was"
    assert not begin(cancelled)
    rows = Job.objects.order_by("id").values_list("status", "stage", "progress")
    assert list(rows) == [("uploading", "Uploading dataset", 0.0), ("pending", None, None)]
    Job.objects.update(cancel_requested_at=timezone.now())
    assert not begin(Job.objects.get(pk=job.pk))


def test_the_progress_of_a_transfer_is_told_until_it_is_cancelled(make_job: MakeJob) -> None:
    job, other = (make_job(status=JobStatus.UPLOADING, stage="Uploading dataset") for _ in range(2))
    assert job_staging.record_staging_progress(job, 40.0, "4 of 10 MB")
    assert job_staging.record_staging_progress(job, 40.0, "4 of 10 MB")
    assert Job.objects.values_list("progress", "last_log").get(pk=job.pk) == (40.0, "4 of 10 MB")
    assert Job.objects.values_list("progress", "last_log").get(pk=other.pk) == (None, None)
    assert published_events().count() == 1
    Job.objects.update(cancel_requested_at=timezone.now())
    for percent in (40.0, 50.0):
        assert not job_staging.record_staging_progress(job, percent, "4 of 10 MB")
    Job.objects.update(cancel_requested_at=None, status=JobStatus.QUEUED)
    assert not job_staging.record_staging_progress(job, 60.0, "6 of 10 MB")
    assert Job.objects.get(pk=job.pk).progress == 40.0


def test_each_of_many_submissions_has_a_marker_and_a_time(make_job: MakeJob) -> None:
    jobs = [make_job() for _ in range(3)]
    assert lifecycle.begin_submissions(jobs[:2]) == {job.pk for job in jobs[:2]}
    kept = Job.objects.in_bulk()
    assert len({kept[job.pk].submission_marker for job in jobs}) == 3
    assert [(job.submission_marker, job.submission_started_at) for job in jobs] == [
        (kept[job.pk].submission_marker, kept[job.pk].submission_started_at) for job in jobs
    ]
    assert kept[jobs[0].pk].submission_started_at is not None
    assert kept[jobs[2].pk].submission_started_at is None


@pytest.mark.parametrize(
    ("fields", "may_go_on"),
    [
        ({}, True),
        ({"status": JobStatus.UPLOADING}, True),
        ({"status": JobStatus.UPLOADING, "cancel_requested_at": timezone.now()}, False),
        ({"status": JobStatus.CANCELLED}, False),
        ({"status": JobStatus.QUEUED}, False),
    ],
)
def test_which_submission_may_go_on(make_job: MakeJob, fields: dict[str, Any], may_go_on: bool) -> None:
    job = make_job(submission_marker="ct-1", **fields)
    assert lifecycle.may_continue(job) is may_go_on
    assert lifecycle.begin_submission(job) is may_go_on
    assert Job.objects.get().submission_marker == "ct-1"
