"""The one writer of status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone

from cloudtrain_site.correlation_ids import correlation, get_correlation_id
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Source, change_state
from jobs import signals
from jobs.models import Job, JobEvent
from jobs.statuses import JobStatus
from tests.events import told

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
    assert '"previous_status": "pending"' in told().get().data


def test_a_move_that_is_not_allowed_writes_nothing(make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.COMPLETED)
    assert not change_state(job, JobStatus.RUNNING, actor=SYSTEM, source=Source.POLL)
    assert Job.objects.get().status == JobStatus.COMPLETED
    assert not JobEvent.objects.exists()
    assert not told().exists()


def test_the_second_of_two_who_read_the_same_state_loses_and_writes_nothing(make_job: MakeJob) -> None:
    first = make_job()
    second = Job.objects.get()
    assert change_state(first, JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    assert not change_state(second, JobStatus.RUNNING, actor=SYSTEM, source=Source.POLL)
    assert second.status == JobStatus.PENDING
    assert JobEvent.objects.count() == told().count() == 1


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
    heard: list[tuple[str, str]] = []

    def listen(*, job: Job, change: Any, **kwargs: Any) -> None:
        heard.append((change.old, change.new))

    signals.job_status_changed.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            change_state(make_job(), JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
            assert heard == []
        assert heard == [("pending", "queued")]
    finally:
        signals.job_status_changed.disconnect(listen)


def test_they_hear_under_the_id_of_the_change_when_it_is_committed_with_others(
    make_job: MakeJob, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[str] = []

    def listen(**kwargs: Any) -> None:
        heard.append(get_correlation_id())

    signals.job_status_changed.connect(listen)
    try:
        with correlation("the-batch"), django_capture_on_commit_callbacks(execute=True), correlation("the-job"):
            change_state(make_job(), JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    finally:
        signals.job_status_changed.disconnect(listen)
    assert heard == ["the-job"]


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
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("a bug")

    signals.job_status_changed.connect(fail)
    try:
        with caplog.at_level("ERROR"), django_capture_on_commit_callbacks(execute=True):
            change_state(make_job(), JobStatus.QUEUED, actor=SYSTEM, source=Source.POLL)
    finally:
        signals.job_status_changed.disconnect(fail)
    assert "a bug" in caplog.text
