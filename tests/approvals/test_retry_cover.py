"""Which retries go by an approval: those of which every rule was approved under the terms that it has now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from approvals import decisions
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.submissions import repeat_submission
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from queueing.models import QueueEntry

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def failed(submission_request: Callable[..., SubmissionRequest], bob: User, provider: object) -> Job:
    """A job of alice's that two rules held, that bob approved, and that has failed."""
    ApprovalRule.objects.create(name="cpus", hardware="cpu", expires_after_hours=48)
    ApprovalRule.objects.create(name="local", provider="local", expires_after_hours=6)
    job = submit(submission_request()).job
    assert decisions.approve(ApprovalRequest.objects.get(), user=bob, source=Source.API)
    return fail(job)


def fail(job: Job) -> Job:
    job.refresh_from_db()
    lifecycle.finish(job, JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="no room")
    claims.end(job)
    return job


def retry(user: User, job: Job) -> ApprovalRequest:
    request = submit(repeat_submission(user, job, source=Source.API, idempotency_key="")).approval
    assert request is not None
    assert QueueEntry.objects.get(job=request.job).status == ("pending" if request.status == "approved" else "blocked")
    return request


def rules_of(request: ApprovalRequest) -> list[tuple[str, int]]:
    return list(request.requirements.values_list("rule_name", "approvals_given"))


def test_it_goes_with_all_that_was_approved(failed: Job, alice: User) -> None:
    kept = retry(alice, failed)
    assert (kept.status, rules_of(kept)) == ("approved", [("cpus", 1), ("local", 1)])
    again = retry(alice, fail(kept.job))
    assert (again.status, rules_of(again)) == ("approved", [("cpus", 1), ("local", 1)])


@pytest.mark.parametrize("own", [True, False])
def test_a_rule_that_was_added_since_holds_it(failed: Job, alice: User, acme: Organization, own: bool) -> None:
    lenient = {"reviewer_role": Role.RESEARCHER, "self_approval": True, "priority": -5}
    ApprovalRule.objects.create(name="new", provider="local", organization=acme if own else None, **lenient)
    request = retry(alice, failed)
    assert (request.status, rules_of(request)) == ("pending", [("new", 0), ("cpus", 0), ("local", 0)])


@pytest.mark.parametrize(
    "terms",
    [{"approvals_needed": 2}, {"reviewer_role": Role.ADMIN}, {"reviewer_group": "safety"}, {"self_approval": True}],
)
def test_a_rule_whose_terms_have_changed_holds_it(failed: Job, alice: User, terms: dict[str, Any]) -> None:
    if "reviewer_group" in terms:
        terms = {"reviewer_group": Group.objects.create(name="safety")}
    ApprovalRule.objects.filter(name="cpus").update(**terms)
    assert retry(alice, failed).status == "pending"


def test_a_rule_made_anew_under_the_same_name_is_another_rule(failed: Job, alice: User) -> None:
    ApprovalRule.objects.filter(name="cpus").delete()
    assert retry(alice, failed).status == "approved"
    ApprovalRule.objects.create(name="cpus", hardware="cpu", expires_after_hours=48)
    assert retry(alice, failed).status == "pending"


def test_a_rule_that_matches_no_more_asks_for_nothing(failed: Job, alice: User) -> None:
    ApprovalRule.objects.filter(name="local").update(provider="replicate")
    assert retry(alice, failed).status == "approved"


@pytest.mark.parametrize(("hours", "status"), [(5.9, "approved"), (6.1, "pending")])
def test_it_is_covered_as_long_as_the_shortest_life(failed: Job, alice: User, hours: float, status: str) -> None:
    ApprovalRequest.objects.update(reviewed_at=timezone.now() - timedelta(hours=hours))
    assert retry(alice, failed).status == status


@pytest.mark.parametrize("hours", [1, 48])
def test_a_life_made_longer_since_does_not_count(failed: Job, alice: User, hours: int) -> None:
    ApprovalRule.objects.update(expires_after_hours=hours)
    ApprovalRequest.objects.update(reviewed_at=timezone.now() - timedelta(hours=6.1))
    assert retry(alice, failed).status == "pending"
