"""The sweep over many due requests: what it costs for each, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from approvals import decisions, expiry
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.notices.outbox import TASK
from cloudtrain_site.states import Actor, Change, Source
from jobs import signals
from jobs.models import Job, JobEvent
from queueing import claims
from queueing.models import QueueEntry

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
MakeRequest = Callable[..., SubmissionRequest]
#: Begin and commit, request, job and entry, three lines of history, the notice, the rows of two events, and two looks:
#: at the job's account, and whether other notices wait. On SQLite the events' number is one of its own.
STATEMENTS_EACH = {"postgresql": 10, "sqlite": 11}


def make_due(submission_request: MakeRequest, count: int) -> None:
    for _ in range(count):
        submit(submission_request())
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def statements_of_a_sweep(submission_request: MakeRequest, count: int) -> int:
    make_due(submission_request, count)
    with CaptureQueriesContext(connection) as queries:
        assert expiry.expire_due(source=Source.LOOP) == count
    return len(queries)


def test_a_further_request_costs_a_sweep_its_own_writes_alone(
    submission_request: MakeRequest, first_job_rule: ApprovalRule
) -> None:
    few, more = statements_of_a_sweep(submission_request, 2), statements_of_a_sweep(submission_request, 7)
    assert (more - few) / 5 == STATEMENTS_EACH[connection.vendor]


def test_a_sweep_tells_of_each_job_once(submission_request: MakeRequest, first_job_rule: ApprovalRule) -> None:
    changes: list[str] = []

    def listen(*, job: Job, change: Change, **kwargs: object) -> None:
        changes.append(f"{job.pk} {change.new}")

    make_due(submission_request, 3)
    signals.job_status_changed.connect(listen)
    try:
        expiry.expire_due(source=Source.LOOP)
    finally:
        signals.job_status_changed.disconnect(listen)
    assert sorted(changes) == sorted(f"{pk} cancelled" for pk in Job.objects.values_list("pk", flat=True))


def test_an_entry_that_moved_on_since_it_was_read_is_read_again(
    submission_request: MakeRequest, alice: User, first_job_rule: ApprovalRule
) -> None:
    make_due(submission_request, 1)
    request = ApprovalRequest.objects.select_related("job").get()
    stale = claims.live_entries([request.job])[request.job_id]
    claims.release(request.job, actor=Actor.of(alice), source=Source.ADMIN, reason="by hand")
    assert decisions.expire(request, source=Source.LOOP, entry=stale)
    assert (QueueEntry.objects.get().status, Job.objects.get().status) == ("failed", "cancelled")


@pytest.fixture
def five_due(
    submission_request: MakeRequest, first_job_rule: ApprovalRule, monkeypatch: pytest.MonkeyPatch
) -> list[ApprovalRequest]:
    """Five requests that were due at one instant, in batches of two."""
    monkeypatch.setattr(expiry, "BATCH_SIZE", 2)
    make_due(submission_request, 5)
    Notice.objects.all().delete()
    OrmQ.objects.all().delete()
    return list(ApprovalRequest.objects.order_by("id"))


def statuses() -> list[str]:
    return list(ApprovalRequest.objects.order_by("id").values_list("status", flat=True))


def test_those_that_are_due_at_one_instant_all_expire_in_however_many_batches(
    five_due: list[ApprovalRequest], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert expiry.expire_due(source=Source.LOOP) == 5
    assert statuses() == ["expired"] * 5
    (line,) = [record.__dict__ for record in caplog.records if record.message == "Expired 5 approval requests"]
    assert line["expired"] == 5
    assert Notice.objects.filter(kind="approval_expired").count() == 5
    assert [task.func() for task in OrmQ.objects.all()].count(TASK) == 1
    assert expiry.expire_due(source=Source.LOOP) == 0


def test_one_that_cannot_be_expired_keeps_no_other_from_it(
    five_due: list[ApprovalRequest], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expire = decisions.expire

    def crash_at_the_second(request: ApprovalRequest, **options: Any) -> bool:
        if request == five_due[1]:
            raise RuntimeError("a bug")
        return expire(request, **options)

    monkeypatch.setattr(decisions, "expire", crash_at_the_second)
    assert expiry.expire_due(source=Source.LOOP) == 4
    assert statuses() == ["expired", "pending", "expired", "expired", "expired"]
    (line,) = [record.__dict__ for record in caplog.records if "could not be expired" in record.message]
    assert (line["approval_id"], line["levelname"]) == (five_due[1].pk, "ERROR")


def test_one_that_cannot_be_expired_is_tried_once_a_sweep(
    five_due: list[ApprovalRequest], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Be it the newest request with the oldest deadline: it is still due when the next batch is read."""
    ApprovalRequest.objects.filter(pk=five_due[-1].pk).update(expires_at=timezone.now() - timedelta(hours=1))
    expire = decisions.expire

    def crash_at_the_first(request: ApprovalRequest, **options: Any) -> bool:
        if request == five_due[-1]:
            raise RuntimeError("a bug")
        return expire(request, **options)

    monkeypatch.setattr(decisions, "expire", crash_at_the_first)
    assert expiry.expire_due(source=Source.LOOP) == 4
    assert caplog.text.count("An approval request could not be expired") == 1


def test_the_longest_overdue_expire_first(five_due: list[ApprovalRequest]) -> None:
    last, *others = five_due
    ApprovalRequest.objects.exclude(pk=last.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    assert list(expiry.due_requests()) == [*others, last]
    expiry.expire_due(source=Source.LOOP)
    expired = JobEvent.objects.filter(subject="approval", new="expired").order_by("id").values_list("job", flat=True)
    assert list(expired) == [request.job_id for request in (*others, last)]


def test_what_is_decided_or_not_yet_due_does_not_expire(
    five_due: list[ApprovalRequest], bob: User, django_assert_num_queries: Any
) -> None:
    decided, early, *due = five_due
    ApprovalRequest.objects.filter(pk__in=[decided.pk, early.pk]).update(expires_at=timezone.now() + timedelta(hours=1))
    assert decisions.reject(ApprovalRequest.objects.get(pk=decided.pk), user=bob, source=Source.API, notes="no")
    ApprovalRequest.objects.filter(pk=decided.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    assert list(expiry.due_requests()) == due
    assert expiry.expire_due(source=Source.LOOP) == 3
    assert statuses() == ["rejected", "pending", "expired", "expired", "expired"]


def test_nothing_due_asks_for_no_mail(db: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert expiry.expire_due(source=Source.LOOP) == 0
    assert not OrmQ.objects.exists()
    assert "Expired" not in caplog.text


def test_the_requests_of_ended_jobs_are_withdrawn_by_the_sweep(five_due: list[ApprovalRequest]) -> None:
    """Their signal was lost. The others are not due, and stay."""
    ApprovalRequest.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    ended = [request.job_id for request in five_due[:2]]
    Job.objects.filter(pk__in=ended).update(status="cancelled", completed_at=timezone.now())
    assert expiry.expire_due(source=Source.LOOP) == 0
    assert statuses() == ["cancelled", "cancelled", "pending", "pending", "pending"]
    assert expiry.close_orphans(source=Source.LOOP) == 0


def test_a_sweep_tells_how_long_it_took(
    submission_request: MakeRequest,
    first_job_rule: ApprovalRule,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a clock that is a quarter of a second later at each look; with SQLite it looks twice more, to rest."""
    clock = count(step=0.25)
    monkeypatch.setattr(expiry, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    make_due(submission_request, 1)
    with caplog.at_level("INFO"):
        expiry.expire_due(source=Source.LOOP)
    (line,) = [record.__dict__ for record in caplog.records if record.message == "Expired 1 approval requests"]
    assert line["duration_ms"] == {"sqlite": 750, "postgresql": 250}[connection.vendor]


@pytest.mark.sqlite
def test_a_long_sweep_rests_for_the_other_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    clock = iter([100.0, 100.032, 100.034, 100.05, 100.06, 100.084, 100.1])
    monkeypatch.setattr(expiry, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=rests.append))
    pace = expiry._Pace()
    pace.rest_when_due()
    assert rests == []
    pace.rest_when_due()
    assert rests == [0.002]
    pace.rest_when_due()
    assert len(rests) == 1, "the next rest is due 33 ms after this one"
    pace.rest_when_due()
    assert len(rests) == 2
