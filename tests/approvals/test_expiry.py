"""The sweep over many due requests: what it costs for each, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import decisions, expiry
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Actor, Change, Source
from jobs import signals
from jobs.models import Job
from queueing import claims
from queueing.models import QueueEntry

pytestmark = pytest.mark.django_db(transaction=True)
MakeWish = Callable[..., SubmissionRequest]
#: Begin and commit, request, job and entry, three lines of history, the mail, the number and the rows of two events,
#: and PostgreSQL's notification.
STATEMENTS_EACH = 12


def make_due(submission_request: MakeWish, count: int) -> None:
    for _ in range(count):
        submit(submission_request())
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def statements_of_a_sweep(submission_request: MakeWish, count: int) -> int:
    make_due(submission_request, count)
    with CaptureQueriesContext(connection) as asked:
        assert expiry.expire_due(source=Source.LOOP) == count
    return len(asked)


def test_a_further_request_costs_a_sweep_its_own_writes_alone(
    submission_request: MakeWish, first_job_rule: ApprovalRule
) -> None:
    few, more = statements_of_a_sweep(submission_request, 2), statements_of_a_sweep(submission_request, 7)
    assert (more - few) / 5 <= STATEMENTS_EACH


def test_a_sweep_tells_of_each_job_once(submission_request: MakeWish, first_job_rule: ApprovalRule) -> None:
    heard: list[str] = []

    def listen(*, job: Job, change: Change, **kwargs: object) -> None:
        heard.append(f"{job.pk} {change.new}")

    make_due(submission_request, 3)
    signals.job_status_changed.connect(listen)
    try:
        expiry.expire_due(source=Source.LOOP)
    finally:
        signals.job_status_changed.disconnect(listen)
    assert sorted(heard) == sorted(f"{pk} cancelled" for pk in Job.objects.values_list("pk", flat=True))


def test_an_entry_that_moved_on_since_it_was_read_is_read_again(
    submission_request: MakeWish, alice: User, first_job_rule: ApprovalRule
) -> None:
    make_due(submission_request, 1)
    request = ApprovalRequest.objects.select_related("job").get()
    stale = claims.live_entries([request.job])[request.job_id]
    claims.release(request.job, actor=Actor.of(alice), source=Source.ADMIN, reason="by hand")
    assert decisions.expire(request, source=Source.LOOP, entry=stale)
    assert (QueueEntry.objects.get().status, Job.objects.get().status) == ("failed", "cancelled")
