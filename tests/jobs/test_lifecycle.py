"""The verbs of a job's life: each wins once, and loses without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import OrmQ

from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import SYSTEM, Actor, Source
from jobs import lifecycle
from jobs.api.serializers import seconds_of
from jobs.configs.secrets import sealed_columns
from jobs.configs.submission import Submission
from jobs.models import DatasetUpload, Job, JobEvent, Organization
from jobs.providers.base import DiscoveredTraining, Snapshot
from jobs.providers.progress import read_progress
from jobs.runs.origin import Origin
from jobs.statuses import TERMINAL, JobStatus
from jobs.sync.adoption import adopt_discovered
from tests.events import published_events

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
BAR = "Epoch 1/1, Steps:  42%|####2     | 42/100 [00:10<00:14,  4.0it/s, lr=0.0001, step_loss=0.5]\n"


def test_create_stores_a_waiting_job_with_its_first_line_of_history(alice: User, acme: Organization) -> None:
    submission = Submission(provider="local", config={"a": 1}, config_name="flux", hardware_profile="cpu")
    job = lifecycle.create(submission, organization=acme, user=alice, source=Source.API, estimated_cost=Decimal(3))
    assert Job.objects.get().status == JobStatus.PENDING
    assert [(line.old, line.new, line.actor) for line in job.events.all()] == [("", "pending", "alice")]
    assert published_events().count() == 1


def test_job_ids_sort_by_time(make_job: MakeJob) -> None:
    ids = [make_job().pk for _ in range(3)]
    assert all(len(pk) == 26 for pk in ids)
    assert ids[0][:10] <= ids[1][:10] <= ids[2][:10]


def test_begin_submission_stores_a_marker_once(make_job: MakeJob) -> None:
    job = make_job()
    assert lifecycle.begin_submission(job)
    marker = Job.objects.get().submission_marker
    assert lifecycle.begin_submission(Job.objects.get())
    assert Job.objects.get().submission_marker == marker


def test_a_cancelled_job_is_not_submitted(make_job: MakeJob) -> None:
    job = make_job()
    stale = Job.objects.get()
    lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    assert not lifecycle.begin_submission(stale)
    assert Job.objects.get().submission_marker is None


def test_a_job_whose_cancel_is_only_noted_is_not_submitted(make_job: MakeJob) -> None:
    """It would cost money."""
    noted = make_job(cancel_requested_at=timezone.now())
    deleted, going = make_job(deleted_at=timezone.now()), make_job()
    begun = make_job(submission_marker="ct-1")
    queued = make_job(status=JobStatus.QUEUED)
    for job in (noted, deleted, queued):
        assert not lifecycle.begin_submission(job)
    jobs = list(Job.objects.all())
    assert lifecycle.begin_submissions(jobs) == {going.pk}
    assert lifecycle.begin_submissions([]) == lifecycle.begin_submissions(jobs) == set()
    markers = dict(Job.objects.values_list("pk", "submission_marker"))
    assert {pk for pk, marker in markers.items() if marker} == {going.pk, begun.pk}
    assert [job.submission_marker for job in jobs if job.pk == going.pk] == [markers[going.pk]]


def upload(alice: User, acme: Organization, **fields: Any) -> DatasetUpload:
    sizes = {"size": 1, "files": 1, "unpacked_size": 1}
    return DatasetUpload.objects.create(organization=acme, uploaded_by=alice, **sizes, **fields)


def create(alice: User, acme: Organization, dataset: str = "", **fields: Any) -> Job:
    submission = Submission(
        provider="local", config={}, config_name="flux", hardware_profile="cpu", dataset=dataset, **fields
    )
    return lifecycle.create(submission, organization=acme, user=alice, source=Source.API, estimated_cost=None)


def test_a_dataset_that_was_just_removed_makes_no_job(alice: User, acme: Organization) -> None:
    removed = upload(alice, acme, removed_at=timezone.now())
    with pytest.raises(Conflict, match="just removed"):
        create(alice, acme, removed.pk)
    assert not Job.objects.exists()


def test_a_dataset_counts_as_used_by_its_newest_job(alice: User, acme: Organization) -> None:
    long_ago = timezone.now() - timedelta(days=6)
    used, other = (upload(alice, acme, last_used_at=long_ago) for _ in range(2))
    assert create(alice, acme, used.pk).dataset == used
    assert create(alice, acme).dataset is None
    used.refresh_from_db()
    other.refresh_from_db()
    assert timezone.now() - used.last_used_at < timedelta(minutes=1)
    assert other.last_used_at == long_ago


def test_a_retry_says_of_what_and_counts_the_attempts(alice: User, acme: Organization) -> None:
    first = create(alice, acme)
    submission = Submission(provider="local", config={}, config_name="flux", hardware_profile="cpu")
    again = lifecycle.create(
        submission, organization=acme, user=alice, source=Source.API, estimated_cost=None, origin=Origin(retry_of=first)
    )
    assert (first.attempt, again.attempt, again.retry_of) == (1, 2, first)
    assert again.events.get().reason == f"retry of {first.pk}"


def test_mark_submitted_takes_down_the_providers_id(make_job: MakeJob) -> None:
    job = make_job()
    assert lifecycle.mark_submitted(job, Snapshot("x-1", JobStatus.QUEUED), actor=SYSTEM)
    assert Job.objects.values_list("status", "external_id").get() == ("queued", "x-1")


def submit_started(make_job: MakeJob, started_at: datetime, **end: Any) -> Job:
    job = make_job(submission_started_at=timezone.now() - timedelta(seconds=5))
    snapshot = Snapshot("x-1", JobStatus.RUNNING, started_at=started_at)
    assert lifecycle.mark_submitted(job, snapshot, actor=SYSTEM)
    if end:
        ended = Snapshot("x-1", JobStatus.COMPLETED, started_at=started_at, **end)
        assert lifecycle.apply_snapshot(Job.objects.get(), ended, source=Source.POLL)
    return Job.objects.get()


@pytest.mark.parametrize("seconds_ago", [0.02, 4, 3600, -3600])
def test_no_job_starts_before_it_was_queued(make_job: MakeJob, seconds_ago: float) -> None:
    job = submit_started(make_job, timezone.now() - timedelta(seconds=seconds_ago))
    assert job.queued_at and job.started_at and job.submission_started_at
    assert job.submission_started_at <= job.queued_at <= job.started_at
    assert job.queued_at <= timezone.now()


def test_a_start_during_the_submission_stays_as_it_was(make_job: MakeJob) -> None:
    began = timezone.now() - timedelta(seconds=4)
    assert submit_started(make_job, began).started_at == began


def test_an_end_before_the_start_makes_no_negative_duration(make_job: MakeJob) -> None:
    began = timezone.now()
    job = submit_started(make_job, began, completed_at=began - timedelta(minutes=10))
    assert (job.status, job.duration_ms, seconds_of(job)) == (JobStatus.COMPLETED, 0, 0.0)


def test_an_end_after_the_start_makes_a_duration(make_job: MakeJob) -> None:
    began = timezone.now()
    job = submit_started(make_job, began, completed_at=began + timedelta(minutes=10))
    assert (job.duration_ms, seconds_of(job)) == (600_000, 600.0)


def test_mark_submitted_loses_against_an_end(make_job: MakeJob) -> None:
    job = make_job()
    lifecycle.finish(Job.objects.get(), JobStatus.CANCELLED, actor=SYSTEM, source=Source.API, reason="no")
    assert not lifecycle.mark_submitted(job, Snapshot("x-1", JobStatus.QUEUED), actor=SYSTEM)
    assert Job.objects.values_list("status", "external_id").get() == ("cancelled", None)


def test_a_job_keeps_the_training_that_it_has(make_job: MakeJob) -> None:
    job = make_job(provider="replicate", status=JobStatus.QUEUED, external_id="x-1")
    assert not lifecycle.mark_submitted(job, Snapshot("x-2", JobStatus.RUNNING), actor=SYSTEM)
    assert Job.objects.values_list("external_id", "status").get() == ("x-1", "queued")


def test_a_snapshot_moves_a_job_forwards(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.QUEUED, external_id="x-1")
    started = timezone.now() - timedelta(seconds=30)
    assert lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.RUNNING, started_at=started), source=Source.POLL)
    assert Job.objects.values_list("status", "started_at").get() == ("running", started)


@pytest.mark.parametrize("status", TERMINAL)
def test_a_late_snapshot_changes_nothing_about_an_ended_job(make_job: MakeJob, status: str) -> None:
    job = make_job(status=status, external_id="x-1")
    late = Snapshot("x-1", JobStatus.RUNNING, error_message="late", progress=read_progress(BAR))
    assert not lifecycle.apply_snapshot(job, late, source=Source.WEBHOOK)
    assert Job.objects.values_list("status", "error_message", "progress").get() == (status, "", None)


def test_a_snapshot_behind_the_job_does_not_move_it_back(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1")
    assert not lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.QUEUED), source=Source.POLL)
    assert Job.objects.get().status == JobStatus.RUNNING
    assert not JobEvent.objects.exists()


def test_a_stale_snapshot_loses_against_one_that_came_first(make_job: MakeJob) -> None:
    stale = make_job(status=JobStatus.RUNNING, external_id="x-1")
    lifecycle.apply_snapshot(Job.objects.get(), Snapshot("x-1", JobStatus.COMPLETED), source=Source.WEBHOOK)
    assert not lifecycle.apply_snapshot(stale, Snapshot("x-1", JobStatus.FAILED), source=Source.POLL)
    assert Job.objects.get().status == JobStatus.COMPLETED


def test_details_that_come_too_late_are_not_written_into_an_ended_job(make_job: MakeJob) -> None:
    stale = make_job(status=JobStatus.RUNNING, external_id="x-1")
    other = make_job(status=JobStatus.RUNNING, external_id="x-2")
    lifecycle.apply_snapshot(
        Job.objects.get(pk=stale.pk), Snapshot("x-1", JobStatus.FAILED, error_message="out of memory"), source="poll"
    )
    count = published_events().count()
    late = Snapshot("x-1", JobStatus.RUNNING, error_message="none yet", progress=read_progress(BAR))
    assert not lifecycle.apply_snapshot(stale, late, source=Source.POLL)
    assert Job.objects.values_list("error_message", "progress").get(pk=stale.pk) == ("out of memory", None)
    assert Job.objects.values_list("error_message", "progress").get(pk=other.pk) == ("", None)
    assert published_events().count() == count
    assert stale.progress is None


@pytest.mark.parametrize("started_at", [None, timezone.now() - timedelta(hours=1)])
def test_a_start_that_is_known_is_kept_and_one_that_is_not_is_now(
    make_job: MakeJob, started_at: datetime | None
) -> None:
    job = make_job(status=JobStatus.QUEUED, external_id="x-1", started_at=started_at)
    assert lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.RUNNING), source=Source.POLL)
    kept = Job.objects.get()
    assert kept.started_at is not None
    assert abs(kept.started_at - (started_at or timezone.now())) < timedelta(seconds=30)
    assert kept.last_synced_at is not None


def test_a_secret_that_the_provider_repeats_is_not_kept(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    secret = "plain-words-as-secret"
    job = make_job(
        status=JobStatus.RUNNING, external_id="x-1", sealed=sealed_columns(config={"hub_token": secret})["sealed"]
    )
    fields: dict[str, Any] = {"error_message": f"no {secret}", "output_url": f"https://example.org/{secret}/x"}
    progress = read_progress(f"{secret} is wrong\n")
    with caplog.at_level("DEBUG"):
        lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.RUNNING, progress=progress, **fields), source="poll")
        lifecycle.apply_snapshot(Job.objects.get(), Snapshot("x-1", JobStatus.FAILED, **fields), source="poll")
    kept = Job.objects.get()
    stars = "*" * len(secret)
    assert (kept.error_message, kept.output_url) == (f"no {stars}", f"https://example.org/{stars}/x")
    assert kept.last_log == f"{stars} is wrong"
    written = [
        *JobEvent.objects.values_list("reason", flat=True),
        *published_events().values_list("data", flat=True),
        caplog.text,
    ]
    assert len(written) > 3
    assert not any(secret in text for text in written)


def test_an_unknown_word_leaves_the_job_as_it_is(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1")
    assert not lifecycle.apply_snapshot(job, Snapshot("x-1", None), source=Source.POLL)
    assert Job.objects.get().status == JobStatus.RUNNING


def test_progress_is_kept_and_told(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1")
    snapshot = Snapshot("x-1", JobStatus.RUNNING, progress=read_progress(BAR))
    lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)
    assert Job.objects.values_list("stage", "progress", "step").get() == ("Training", 42.0, 42)
    event = json.loads(published_events().get().data)
    assert (event["type"], event["progress"], event["step"], event["total_steps"]) == ("job_progress", 42.0, 42, 100)
    assert event["cost_usd"] == 0 and isinstance(event["cost_usd"], float)


def test_progress_is_told_at_most_once_a_second(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1")
    for step in (42, 43, 44):
        progress = read_progress(BAR.replace("42/100", f"{step}/100"))
        lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.RUNNING, progress=progress), source=Source.POLL)
    assert Job.objects.get().step == 44
    assert published_events().count() == 1


def test_the_same_snapshot_twice_writes_nothing_the_second_time(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1")
    snapshot = Snapshot("x-1", JobStatus.RUNNING, progress=read_progress(BAR))
    lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)
    first = Job.objects.get().last_synced_at
    lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)
    assert Job.objects.get().last_synced_at == first


def test_a_waiting_job_is_cancelled_at_once(make_job: MakeJob, alice: User) -> None:
    job = make_job()
    assert lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.API, reason="wrong data")
    assert Job.objects.get().status == JobStatus.CANCELLED
    assert JobEvent.objects.get().reason == "wrong data"


def test_a_job_at_its_provider_is_cancelled_when_the_provider_says_so(
    make_job: MakeJob, django_capture_on_commit_callbacks: Any
) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1", submission_started_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    kept = Job.objects.get()
    assert kept.status == JobStatus.RUNNING
    assert kept.cancel_requested_at is not None
    assert OrmQ.objects.count() == 1


def test_a_job_being_submitted_is_not_cancelled_behind_the_dispatchers_back(make_job: MakeJob) -> None:
    job = make_job()
    lifecycle.begin_submission(Job.objects.get())
    assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    kept = Job.objects.get()
    assert kept.status == JobStatus.PENDING
    assert kept.cancel_requested_at is not None


def test_asking_twice_is_on_record_once(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.RUNNING, external_id="x-1", submission_started_at=timezone.now())
    lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    assert JobEvent.objects.count() == 1


@pytest.mark.parametrize("status", TERMINAL)
def test_an_ended_job_can_not_be_cancelled(make_job: MakeJob, status: str) -> None:
    assert not lifecycle.request_cancel(make_job(status=status), actor=SYSTEM, source=Source.API)
    assert not JobEvent.objects.exists()


START = timezone.now() - timedelta(hours=1)


@pytest.mark.parametrize(
    ("started", "snapshot", "milliseconds"),
    [
        (None, Snapshot("x", JobStatus.FAILED, completed_at=START), None),
        (START, Snapshot("x", JobStatus.COMPLETED, completed_at=START + timedelta(seconds=1.5)), 1500),
        (None, Snapshot("x", JobStatus.FAILED, started_at=START - timedelta(days=9), completed_at=START), 777_600_000),
        (START, Snapshot("x", JobStatus.CANCELLED, completed_at=START - timedelta(minutes=1)), 0),
        (START, Snapshot("x", JobStatus.RUNNING), None),
    ],
)
def test_how_long_it_ran_is_kept_when_it_ends(
    make_job: MakeJob, started: datetime | None, snapshot: Snapshot, milliseconds: int | None
) -> None:
    lifecycle.apply_snapshot(make_job(status=JobStatus.QUEUED, started_at=started), snapshot, source=Source.POLL)
    assert Job.objects.get().duration_ms == milliseconds


def test_a_start_that_is_told_after_the_end_counts(make_job: MakeJob) -> None:
    snapshot = Snapshot("x", JobStatus.COMPLETED, started_at=START)
    job = make_job(status=JobStatus.COMPLETED, completed_at=START + timedelta(seconds=2))
    assert job.duration_ms is None
    assert lifecycle.apply_final_details(job, snapshot)
    assert Job.objects.get().duration_ms == 2000


def test_a_job_that_never_began_has_no_duration_however_it_ends(make_job: MakeJob) -> None:
    lifecycle.finish(make_job(), JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="no such command")
    lifecycle.request_cancel(make_job(), actor=SYSTEM, source=Source.API)
    ended = Job.objects.exclude(completed_at=None)
    assert list(ended.values_list("duration_ms", flat=True)) == [None, None]


def test_a_found_training_that_has_ended_tells_how_long_it_ran(acme: Organization) -> None:
    ended = Snapshot("x", JobStatus.COMPLETED, started_at=START, completed_at=START + timedelta(seconds=3))
    found = DiscoveredTraining(
        snapshot=ended, created_at=START, name="Flux", config={}, dataloader_config=[], marker=None
    )
    adopt_discovered([found], provider="replicate", organization=acme, source=Source.POLL)
    assert Job.objects.values_list("duration_ms", "name_key").get() == (3000, "flux")


def test_finish_loses_against_an_end(make_job: MakeJob) -> None:
    job = make_job()
    lifecycle.request_cancel(Job.objects.get(), actor=SYSTEM, source=Source.API)
    assert not lifecycle.finish(job, JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="no such command")
    assert Job.objects.get().status == JobStatus.CANCELLED


def test_a_failed_start_says_why(make_job: MakeJob) -> None:
    lifecycle.finish(make_job(), JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="no such command")
    assert Job.objects.get().error_message == "no such command"


def test_only_an_ended_job_is_deleted_and_only_once(make_job: MakeJob) -> None:
    running = make_job(status=JobStatus.RUNNING)
    ended = make_job(status=JobStatus.COMPLETED)
    delete = partial(lifecycle.delete, actor=Actor(name="alice"), source=Source.API)
    assert not delete(running)
    assert delete(ended)
    assert not delete(ended)
    assert list(Job.objects.kept()) == [running]
    noted = [(event.old, event.new, event.actor, event.reason) for event in JobEvent.objects.all()]
    assert noted == [("completed", "completed", "alice", "deleted")]
