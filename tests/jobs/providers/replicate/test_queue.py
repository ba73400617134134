"""The whole way with Replicate at its end: whatever gets lost on it, each job is one prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from examples.fake_replicate import FakeReplicate
from jobs import lifecycle, maintenance
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Snapshot, TrainingSpec
from jobs.providers.replicate.provider import ReplicateProvider
from jobs.statuses import JobStatus
from jobs.sync import refresh
from jobs.sync.discovery import discover
from queueing import claims, dispatch, operations, recorder
from queueing.models import QueueEntry, QueueState
from queueing.operations import ChangedBy
from queueing.statuses import EntryStatus
from tests.queueing.entries import dispatch_a_lease_later, enqueue

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def submit(fake: FakeReplicate, replicate_config: ProviderConfig, make_job: Callable[..., Job]) -> Callable[..., Job]:
    """A job of alice's in the queue for Replicate."""

    def make(**fields: Any) -> Job:
        job = make_job(**{"provider": "replicate", "hardware_profile": "h100", "tracker_run_name": "night", **fields})
        enqueue(job)
        return job

    return make


def test_a_job_is_one_prediction_from_its_submission_to_its_end(
    submit: Callable[..., Job], fake: FakeReplicate
) -> None:
    job = submit()
    dispatch.run_pass()
    job.refresh_from_db()
    (made,) = fake.predictions.marked(job.submission_marker or "")
    assert (job.status, job.external_id) == (JobStatus.QUEUED, made.id)
    fake.update(made.id, "processing")
    fake.update(made.id, "succeeded", logs="done\n")
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    job.refresh_from_db()
    assert job.status == JobStatus.COMPLETED
    assert list(job.events.filter(subject="job").values_list("new", flat=True)) == ["queued", "completed"]


@pytest.mark.parametrize("fault", ["drop_reply", "server_error", "garbage"])
def test_a_lost_answer_is_adopted_and_not_repeated(submit: Callable[..., Job], fake: FakeReplicate, fault: str) -> None:
    job = submit()
    fake.faults.add(fault, method="POST", path="predictions", times=1, after=True)
    dispatch.run_pass()
    assert Job.objects.get().external_id is None
    dispatch_a_lease_later()
    dispatch_a_lease_later()
    job.refresh_from_db()
    assert [made.id for made in fake.predictions.marked(job.submission_marker or "")] == [job.external_id]


def test_a_request_that_never_arrived_is_not_repeated_blindly(submit: Callable[..., Job], fake: FakeReplicate) -> None:
    job = submit()
    fake.faults.add("drop", method="POST", path="predictions", times=1)
    dispatch.run_pass()
    dispatch_a_lease_later()
    job.refresh_from_db()
    assert job.status == JobStatus.PENDING
    assert not len(fake.predictions)


@pytest.fixture
def missing(submit: Callable[..., Job], fake: FakeReplicate) -> QueueEntry:
    """The claim of a job that nobody has found at Replicate for ten minutes, as a person saw it."""
    submit()
    fake.faults.add("drop", method="POST", path="predictions", times=1)
    dispatch.run_pass()
    QueueEntry.objects.update(unconfirmed_at=timezone.now())
    return QueueEntry.objects.select_related("job").get()


def a_webhook_says_it_runs() -> None:
    snapshot = Snapshot("x" * 26, JobStatus.RUNNING)
    assert lifecycle.mark_submitted(Job.objects.get(), snapshot, actor=SYSTEM, source=Source.WEBHOOK)


def test_a_webhook_settles_what_a_person_was_asked_about(missing: QueueEntry) -> None:
    a_webhook_says_it_runs()
    entry = QueueEntry.objects.get()
    assert (entry.status, entry.unconfirmed_at) == (EntryStatus.RUNNING, None)


@pytest.mark.parametrize("verb", [operations.resubmit, operations.end_unconfirmed])
def test_a_decision_that_a_webhook_forestalled_is_refused(
    missing: QueueEntry, verb: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "confirm", lambda entry: False)  # what a crash in between leaves
    a_webhook_says_it_runs()
    assert not verb(missing, ChangedBy(SYSTEM, Source.API, "it is not there"))
    assert (Job.objects.get().status, QueueEntry.objects.get().status) == (JobStatus.RUNNING, EntryStatus.DISPATCHING)


def test_what_turns_up_after_it_was_submitted_again_is_not_taken_for_cancelled(
    missing: QueueEntry, fake: FakeReplicate
) -> None:
    assert operations.resubmit(missing, ChangedBy(SYSTEM, Source.API, "it is not there"))
    a_webhook_says_it_runs()
    dispatch.run_pass()
    assert (Job.objects.get().status, QueueEntry.objects.get().status) == (JobStatus.RUNNING, EntryStatus.RUNNING)
    assert not len(fake.predictions)


@pytest.fixture
def unseen(submit: Callable[..., Job], fake: FakeReplicate) -> QueueEntry:
    """The claim of a job whose answer was lost, and whose training no list has shown for ten minutes."""
    submit()
    fake.faults.add("drop_reply", method="POST", path="predictions", times=1)
    dispatch.run_pass()
    QueueEntry.objects.update(unconfirmed_at=timezone.now())
    return QueueEntry.objects.select_related("job").get()


def look_around() -> None:
    discover("replicate", source=Source.COMMAND)
    maintenance.retry_cancels()


def test_what_was_given_up_and_was_there_after_all_is_stopped(unseen: QueueEntry, fake: FakeReplicate) -> None:
    assert operations.end_unconfirmed(unseen, ChangedBy(SYSTEM, Source.API, "it is not there"))
    look_around()
    (made,) = fake.predictions
    assert made.status == "canceled"
    assert set(Job.objects.values_list("status", "external_id")) == {("failed", None), ("cancelled", made.id)}


def test_what_is_found_just_as_it_is_given_up_is_stopped(
    unseen: QueueEntry, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorder.record

    def give_up_first(accepted: Sequence[recorder.Accepted]) -> list[bool]:
        entry = QueueEntry.objects.select_related("job").get()
        assert operations.end_unconfirmed(entry, ChangedBy(SYSTEM, Source.API, "it is not there"))
        return record(accepted)

    monkeypatch.setattr(recorder, "record", give_up_first)
    dispatch_a_lease_later()
    maintenance.retry_cancels()
    (made,) = fake.predictions
    assert made.status == "canceled"
    assert Job.objects.get(external_id=made.id).metadata["stray_of"] == unseen.job_id


def test_an_earlier_training_does_not_run_beside_the_one_that_was_submitted_again(
    unseen: QueueEntry, fake: FakeReplicate
) -> None:
    assert operations.resubmit(unseen, ChangedBy(SYSTEM, Source.API, "it is not there"))
    dispatch.run_pass()
    earlier, new = fake.predictions
    look_around()
    assert (earlier.status, new.status) == ("canceled", "starting")
    assert Job.objects.get(pk=unseen.job_id).external_id == new.id
    assert QueueEntry.objects.get().status == EntryStatus.RUNNING


def test_an_earlier_training_that_a_webhook_brings_while_it_is_submitted_again_is_the_only_one(
    unseen: QueueEntry, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    (earlier,) = fake.predictions
    submit_now = ReplicateProvider.submit

    async def submit_while_a_webhook_comes(self: ReplicateProvider, spec: TrainingSpec) -> Snapshot:
        snapshot = Snapshot(earlier.id, JobStatus.RUNNING)
        job = await sync_to_async(Job.objects.get)()
        await sync_to_async(lifecycle.mark_submitted)(job, snapshot, actor=SYSTEM, source=Source.WEBHOOK)
        return await submit_now(self, spec)

    assert operations.resubmit(unseen, ChangedBy(SYSTEM, Source.API, "it is not there"))
    monkeypatch.setattr(ReplicateProvider, "submit", submit_while_a_webhook_comes)
    dispatch.run_pass()
    maintenance.retry_cancels()
    assert [made.status for made in fake.predictions] == ["starting", "canceled"]
    assert Job.objects.get(pk=unseen.job_id).external_id == earlier.id


def test_what_surely_made_nothing_is_tried_again(submit: Callable[..., Job], fake: FakeReplicate) -> None:
    submit()
    with fake.outage():
        dispatch.run_pass()
    QueueEntry.objects.update(not_before=None)
    dispatch.run_pass()
    assert Job.objects.get().status == JobStatus.QUEUED
    assert len(fake.predictions) == 1


def end_the_wait() -> None:
    QueueEntry.objects.update(not_before=None)
    claims._paused_until.clear()


def test_no_job_fails_since_many_were_submitted_at_once(submit: Callable[..., Job], fake: FakeReplicate) -> None:
    submit()
    fake.faults.add("throttle", method="POST", path="predictions", times=4, seconds=60)
    for _ in range(5):
        end_the_wait()
        dispatch.run_pass()
    assert Job.objects.get().status == JobStatus.QUEUED
    assert QueueEntry.objects.get().attempts == 1


def test_who_throttles_us_is_sent_no_other_job_meanwhile(submit: Callable[..., Job], fake: FakeReplicate) -> None:
    limits = {"max_running": 1, "max_running_per_user": 1, "max_running_per_organization": 1}
    QueueState.objects.update_or_create(pk=1, defaults=limits)
    for _ in range(5):
        submit()
    fake.faults.add("throttle", method="POST", path="predictions", seconds=60)
    dispatch.run_pass()
    dispatch.run_pass()
    assert fake.requests.count("POST", "/v1/predictions") == 1


def test_a_refused_job_says_what_replicate_said(submit: Callable[..., Job], fake: FakeReplicate) -> None:
    submit()
    fake.faults.add("no_credit")
    dispatch.run_pass()
    job = Job.objects.get()
    assert job.status == JobStatus.FAILED
    assert "insufficient credit" in job.error_message


def test_in_a_storm_every_job_ends_as_its_one_prediction_did(submit: Callable[..., Job], fake: FakeReplicate) -> None:
    limits = {"max_running": 100, "max_running_per_user": 100, "max_running_per_organization": 100}
    QueueState.objects.update_or_create(pk=1, defaults=limits)
    jobs = [submit() for _ in range(20)]
    fake.faults.storm({"server_error": 0.05, "throttle": 0.02}, seed=7, method="GET", seconds=0.1)
    fake.faults.add("drop_reply", probability=0.3)
    dispatch.run_pass()
    for _ in range(6):
        QueueEntry.objects.update(not_before=None)
        dispatch_a_lease_later()
    for number, made in enumerate(fake.predictions):
        fake.update(made.id, "processing", logs="begin\n")
        fake.update(made.id, ("succeeded", "failed", "canceled")[number % 3])
    for _ in range(4):
        ProviderConfig.objects.update(outage_until=None)
        refresh.refresh(refresh.active_jobs(), source=Source.POLL)
        maintenance.run()
    ends = {"succeeded": "completed", "failed": "failed", "canceled": "cancelled"}
    for job in jobs:
        job.refresh_from_db()
        (made,) = fake.predictions.marked(job.submission_marker or "")
        assert (job.external_id, job.status) == (made.id, ends[made.status])
