"""Requests of the version that held a job by its first rule alone, brought to this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from approvals import decisions
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Decision
from approvals.reviewers import decision_objection
from approvals.submissions import repeat_submission
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from queueing.models import QueueEntry
from tests.factories import make_user
from tests.old_migrations import go_back_to, upgrade

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
BEFORE = ("approvals", "0008_seal_terms")


@pytest.fixture
def before(transactional_db: None) -> Iterator[Callable[[], Any]]:
    """Go back to the version before; the test upgrades, or this does it at the end."""
    yield lambda: go_back_to(BEFORE)
    upgrade()


@pytest.fixture
def held(submission_request: Callable[..., SubmissionRequest]) -> Callable[..., ApprovalRequest]:
    """Hold a job of alice's by a rule of such terms."""

    def hold(**terms: Any) -> ApprovalRequest:
        ApprovalRule.objects.all().delete()
        ApprovalRule.objects.create(**{"name": "dear", "cost_exceeds": 0, "expires_after_hours": 6, **terms})
        request = submit(submission_request()).approval
        assert request is not None
        return request

    return hold


def test_a_pending_request_with_one_of_two_approvals_keeps_what_it_said(
    before: Callable[[], Any], held: Callable[..., ApprovalRequest], acme: Organization, bob: User
) -> None:
    request = held(approvals_needed=2, self_approval=True)
    assert decisions.approve(request, user=bob, source=Source.API)
    old = before()
    row = old.get_model("approvals", "ApprovalRequest").objects.get()
    assert (row.approvals_needed, row.reviewer_role, row.self_approval) == (2, "lead", True)
    ApprovalRule.objects.update(approvals_needed=9)
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)

    upgrade()

    request = ApprovalRequest.objects.get()
    kept = request.requirements.get()
    assert (kept.rule_name, kept.reason, kept.rule) == ("dear", request.reason, ApprovalRule.objects.get())
    assert (kept.approvals_given, kept.approvals_needed, kept.reviewer_role, kept.self_approval) == (1, 2, "lead", True)
    assert kept.expires_after_hours == 6
    assert Decision.objects.get().counted_for.get() == kept
    assert not decisions.approve(request, user=bob, source=Source.API)
    assert decisions.approve(request, user=make_user("carol", acme, Role.LEAD), source=Source.API)
    assert (ApprovalRequest.objects.get().status, QueueEntry.objects.get().status) == ("approved", "pending")


def test_a_group_goes_on_deciding(
    before: Callable[[], Any], held: Callable[..., ApprovalRequest], acme: Organization, bob: User
) -> None:
    group = Group.objects.create(name="safety")
    vera = make_user("vera", acme, Role.VIEWER)
    vera.groups.add(group)
    held(reviewer_group=group)
    assert before().get_model("approvals", "ApprovalRequest").objects.get().reviewer_group_id == group.pk

    upgrade()

    request = ApprovalRequest.objects.get()
    assert (request.requirements.get().reviewer_role, decision_objection(vera, request)) == ("", None)
    assert "members of the group safety" in str(decision_objection(bob, request))


def fail(job: Job) -> Job:
    job.refresh_from_db()
    lifecycle.finish(job, JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="no room")
    claims.end(job)
    return job


@pytest.mark.parametrize(("hours", "status"), [(5, "approved"), (7, "pending")])
def test_an_approval_goes_on_covering_retries_as_long_as_it_did(
    before: Callable[[], Any], held: Callable[..., ApprovalRequest], alice: User, bob: User, hours: int, status: str
) -> None:
    request = held()
    decisions.approve(request, user=bob, source=Source.API)
    again = repeat_submission(alice, fail(request.job), source=Source.API, idempotency_key="")
    kept = submit(again).approval
    assert kept is not None
    before()

    upgrade()

    assert list(ApprovalRequest.objects.order_by("pk").values_list("requirements__approvals_given", flat=True)) == [
        1,
        1,
    ]
    ApprovalRequest.objects.update(reviewed_at=timezone.now() - timedelta(hours=hours))
    again = repeat_submission(alice, fail(kept.job), source=Source.API, idempotency_key="")
    assert submit(again).approval.status == status  # type: ignore[union-attr]
