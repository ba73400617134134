"""The one writer of status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone

from cloudtrain_site.correlation_ids import correlation, get_correlation_id
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Change, Source, change_state, move_all
from jobs import signals
from jobs.models import Job, JobEvent
from jobs.statuses import JobStatus
from tests.events import published_events

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def test_a_win_writes_status_history_and_event_together(make_job: MakeJob) -> None:
    job = make_job()
    assert change_state(job, JobStatus.QUEUED, actor=SYSTEM, source=Source.DISPATCHER, reason="went")
    assert Job.objects.get().status == job.status == JobStatus.QUEUED
    line = JobEvent.objects.get()
    assert (line.old, line.new, line.actor, line.source, line.reason) == (
        "pending",
        "queued",
        "system",
        "dispatcher",
        "went",
    )
    assert '"previous_status": "pending"' in published_events().get().data


def test_a_move_that_is_not_allowed_writes_nothing(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.COMPLETED)
    assert not change_state(job, JobStatus.RUNNING, actor=SYSTEM, source=Source.POLL)
    assert Job.objects.get().status == JobStatus.COMPLETED
    assert not JobEvent.objects.exists()
    assert not published_events().exists()


def test_the_second_of_two_who_read_the_same_state_loses_and_writes_nothing(make_job: MakeJob) -> None:
    first = make_job()
    second = Job.objects.get()
    assert change_state(first, JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    assert not change_state(second, JobStatus.RUNNING, actor=SYSTEM, source=Source.POLL)
    assert second.status == JobStatus.PENDING
    assert JobEvent.objects.count() == published_events().count() == 1


def test_a_narrower_condition_that_fails_writes_nothing(make_job: MakeJob) -> None:
    job = make_job()
    wrong = {"external_id": "somebody else's"}
    assert not change_state(job, JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL, only_if=wrong)
    assert Job.objects.get().status == JobStatus.PENDING


def test_the_history_of_one_unit_is_in_its_order_and_without_what_was_rolled_back(make_job: MakeJob) -> None:
    job, other = make_job(), make_job()
    with unit_of_work():
        change_state(job, JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
        with pytest.raises(ZeroDivisionError), unit_of_work():
            change_state(other, JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
            1 / 0  # noqa: B018
        change_state(job, JobStatus.RUNNING, actor=SYSTEM, source=Source.POLL)

    assert list(JobEvent.objects.order_by("id").values_list("job", "new")) == [(job.pk, "queued"), (job.pk, "running")]


def test_fields_are_written_with_the_status(make_job: MakeJob) -> None:
    job = make_job()
    now = timezone.now()
    change_state(job, JobStatus.FAILED, actor=SYSTEM, source=Source.POLL, completed_at=now, error_message="boom")
    kept = Job.objects.get()
    assert (kept.completed_at, kept.error_message) == (now, "boom")


def test_the_rooms_above_hear_of_a_win_once_and_after_the_commit(
    make_job: MakeJob, django_capture_on_commit_callbacks: Any
) -> None:
    changes: list[tuple[str, str]] = []

    def listen(*, job: Job, change: Any, **kwargs: Any) -> None:
        changes.append((change.old, change.new))

    signals.job_status_changed.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            change_state(make_job(), JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
            assert changes == []
        assert changes == [("pending", "queued")]
    finally:
        signals.job_status_changed.disconnect(listen)


def test_they_hear_under_the_id_of_the_change_when_it_is_committed_with_others(
    make_job: MakeJob, django_capture_on_commit_callbacks: Any
) -> None:
    ids: list[str] = []

    def listen(**kwargs: Any) -> None:
        ids.append(get_correlation_id())

    signals.job_status_changed.connect(listen)
    try:
        with correlation("the-batch"), django_capture_on_commit_callbacks(execute=True), correlation("the-job"):
            change_state(make_job(), JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    finally:
        signals.job_status_changed.disconnect(listen)
    assert ids == ["the-job"]


def test_nobody_hears_of_a_loss(make_job: MakeJob, django_capture_on_commit_callbacks: Any) -> None:
    job = make_job(status=JobStatus.COMPLETED)
    with django_capture_on_commit_callbacks() as callbacks:
        change_state(job, JobStatus.RUNNING, actor=SYSTEM, source=Source.POLL)
    assert callbacks == []


def test_an_actor_is_somebody(alice: User) -> None:
    assert Actor.of(alice) == Actor(name="alice", user_id=alice.pk)
    with pytest.raises(ValueError, match="anonymous"):
        Actor.of(AnonymousUser())


def test_a_listener_that_fails_does_not_keep_the_others_from_hearing(
    make_job: MakeJob, django_capture_on_commit_callbacks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[str] = []

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("a bug")

    def listen(*, change: Change, **kwargs: Any) -> None:
        changes.append(change.new)

    signals.job_status_changed.connect(fail)
    signals.job_status_changed.connect(listen)
    try:
        with caplog.at_level("ERROR"), django_capture_on_commit_callbacks(execute=True):
            change_state(make_job(), JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    finally:
        signals.job_status_changed.disconnect(fail)
        signals.job_status_changed.disconnect(listen)
    assert changes == ["queued"]
    assert "a bug" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_change_whose_history_cannot_be_written_is_none(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()

    def crash(job: Job, change: Change) -> None:
        raise RuntimeError("its history can't be written")

    monkeypatch.setattr(Job, "record", crash)
    with pytest.raises(RuntimeError):
        change_state(job, JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    assert Job.objects.get().status == JobStatus.PENDING


def test_many_are_moved_at_once_those_alone_that_are_where_they_were(make_job: MakeJob) -> None:
    waiting, queued, other = make_job(), make_job(status=JobStatus.QUEUED), make_job()
    rows = Job.objects.filter(pk__in=[waiting.pk, queued.pk])
    moved = move_all(rows, JobStatus.RUNNING, old=JobStatus.PENDING, external_id="x-1")
    assert moved == 1
    kept = dict(Job.objects.values_list("pk", "status"))
    assert kept == {waiting.pk: "running", queued.pk: "queued", other.pk: "pending"}
    assert Job.objects.get(external_id="x-1") == waiting


def test_none_is_moved_where_it_may_not_go(make_job: MakeJob) -> None:
    make_job(status=JobStatus.RUNNING)
    assert move_all(Job.objects.all(), JobStatus.PENDING, old=JobStatus.RUNNING) == 0
    assert Job.objects.get().status == JobStatus.RUNNING


def test_a_change_has_the_id_of_its_work_unless_it_brings_its_own(make_job: MakeJob) -> None:
    job, at = make_job(), timezone.now() - timedelta(hours=1)
    with correlation("the-work"):
        own = Change.of(job, "", "pending", actor=SYSTEM, source=Source.API)
        brought = Change.of(job, "", "pending", actor=SYSTEM, source=Source.API, correlation_id="another", at=at)
    assert (own.correlation_id, brought.correlation_id, brought.at) == ("the-work", "another", at)
    assert timezone.now() - own.at < timedelta(minutes=1)
