"""Decisions and submissions at the same instant: one winner, one line of history, one event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from approvals import decisions
from approvals.intake import Wish, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Actor, Source
from jobs.models import Job, JobEvent
from queueing.models import QueueEntry
from tests.news import told
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 10


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_of_approve_reject_and_cancel_at_once_one_wins(
    wish: Callable[..., Wish], alice: User, bob: User, first_job_rule: ApprovalRule, round_: int
) -> None:
    submit(wish())
    copies = [ApprovalRequest.objects.select_related("job").get() for _ in range(3)]
    won = at_once(
        lambda: decisions.approve(copies[0], user=bob, source=Source.API),
        lambda: decisions.reject(copies[1], user=bob, source=Source.API, notes="no"),
        lambda: decisions.cancel(copies[2], actor=Actor.of(alice), source=Source.API),
    )
    assert won.count(True) == 1
    decided = ApprovalRequest.objects.get().status
    assert JobEvent.objects.filter(subject="approval").exclude(old="").values_list("new").get() == (decided,)
    kinds = [f'"approval_{word}"' for word in ("approved", "rejected") if word == decided]
    assert sum(word in data for data in told().values_list("data", flat=True) for word in kinds) == len(kinds)
    expected = {"approved": ("pending", "pending")}.get(decided, ("cancelled", "failed"))
    assert (Job.objects.get().status, QueueEntry.objects.get().status) == expected


def test_two_sweeps_at_once_expire_each_request_once(
    wish: Callable[..., Wish], alice: User, first_job_rule: ApprovalRule
) -> None:
    for _ in range(5):
        submit(wish())
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    swept = at_once(*[lambda: decisions.expire_due(source=Source.LOOP)] * 3)
    assert sum(swept) == 5
    assert JobEvent.objects.filter(subject="approval", new="expired").count() == 5


def test_two_people_submitting_with_one_key_at_once_get_a_job_each(
    wish: Callable[..., Wish], alice: User, bob: User
) -> None:
    outcomes = at_once(lambda: submit(wish(user=alice, key="k")), lambda: submit(wish(user=bob, key="k")))
    assert outcomes[0].job != outcomes[1].job


def test_one_person_submitting_five_times_at_once_with_one_key_gets_one_job(
    wish: Callable[..., Wish], alice: User
) -> None:
    outcomes = at_once(*[lambda: submit(wish(key="k"))] * 5)
    assert len({outcome.job.pk for outcome in outcomes}) == 1
    assert [outcome.is_replay for outcome in outcomes].count(False) == 1
    assert Job.objects.count() == QueueEntry.objects.count() == 1
