"""A raise and a cancellation at the same instant: one of them wins, and the other changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from approvals import decisions, review
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.statuses import Verdict
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Source
from jobs.fuses import watch
from jobs.fuses.burns import current_burns
from jobs.fuses.fuse import ask_for_more, set_fuse
from jobs.models import Job, JobEvent, ProviderConfig
from tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = int(os.environ.get("CLOUDTRAIN_RACE_ROUNDS", "10"))


@pytest.fixture
def running(
    submission_request: Callable[..., SubmissionRequest], first_job_rule: ApprovalRule, bob: User
) -> Callable[[], Job]:
    """Make a job of alice's that is approved up to $30, has cost all of it, and is asking for $50."""
    ProviderConfig.objects.update_or_create(name="local", defaults={"cost_per_second": {"cpu": 0.01}})

    def make() -> Job:
        job = submit(submission_request()).job
        request = ApprovalRequest.objects.select_related("job").get(job=job)
        assert decisions.approve(request, user=bob, source=Source.API, up_to=Decimal(30))
        now = timezone.now()
        began = {"started_at": now - timedelta(hours=1), "last_synced_at": now, "external_id": job.pk}
        Job.objects.filter(pk=job.pk).update(status="running", cost_usd=Decimal("29.9"), **began)
        return Job.objects.get(pk=job.pk)

    return make


def refused(act: Callable[[], object]) -> bool:
    """Whether `act` comes too late."""
    try:
        return act() is False
    except Conflict as conflict:
        assert conflict.get_codes() in ("being_cancelled", "asked_already")
        return True


@pytest.mark.slow
def test_of_a_raise_and_the_fuse_one_wins(running: Callable[[], Job], bob: User) -> None:
    for _ in range(ROUNDS):
        job = running()
        [burn] = [one for one in current_burns(timezone.now()) if one.job.pk == job.pk]
        late = at_once(
            lambda job=job: refused(lambda: set_fuse(job, Decimal(60), by=bob)),  # type: ignore[misc]
            lambda burn=burn: refused(lambda: watch._cancel(burn)),  # type: ignore[misc]
        )
        assert sorted(late) == [False, True]
        job.refresh_from_db()
        is_raised = job.max_cost_usd == 60
        assert is_raised == (job.cancel_requested_at is None) == (not late[0])
        Job.objects.filter(pk=job.pk).update(max_cost_usd=None)


@pytest.mark.slow
def test_of_an_approved_raise_and_the_fuse_one_wins(running: Callable[[], Job], alice: User, bob: User) -> None:
    for _ in range(ROUNDS):
        job = running()
        assert ask_for_more(job, Decimal(50), by=alice)
        request = ApprovalRequest.objects.select_related("job").get(job=job, status="pending")
        [burn] = [one for one in current_burns(timezone.now()) if one.job.pk == job.pk]
        approved, cancelled = at_once(
            lambda request=request: review.decide(request, Verdict.APPROVE, user=bob, source=Source.API).won,  # type: ignore[misc]
            lambda burn=burn: watch._cancel(burn),  # type: ignore[misc]
        )
        assert approved != cancelled
        job.refresh_from_db()
        assert (job.max_cost_usd == 50, job.cancel_requested_at is not None) == (approved, cancelled)
        request.refresh_from_db()
        assert request.status == ("approved" if approved else "pending")
        Job.objects.filter(pk=job.pk).update(max_cost_usd=None)


@pytest.mark.slow
def test_two_who_ask_at_once_make_one_request(running: Callable[[], Job], alice: User) -> None:
    for _ in range(ROUNDS):
        job = running()
        Job.objects.filter(pk=job.pk).update(fuse_action="ask")
        [burn] = [one for one in current_burns(timezone.now()) if one.job.pk == job.pk]
        at_once(
            lambda job=job: refused(lambda: ask_for_more(job, Decimal(50), by=alice)),  # type: ignore[misc]
            lambda burn=burn: refused(lambda: watch._ask(burn)),  # type: ignore[misc]
            lambda burn=burn: refused(lambda: watch._ask(burn)),  # type: ignore[misc]
        )
        assert ApprovalRequest.objects.filter(job=job, status="pending").count() == 1
        Job.objects.filter(pk=job.pk).update(max_cost_usd=None)


@pytest.mark.slow
def test_a_second_click_changes_nothing(running: Callable[[], Job], bob: User) -> None:
    job = running()
    changed = at_once(*[lambda: set_fuse(Job.objects.get(pk=job.pk), Decimal(60), by=bob)] * 3)
    assert sorted(changed) == [False, False, True]
    assert JobEvent.objects.filter(job=job, reason="cost limit set to $60.00").count() == 1
