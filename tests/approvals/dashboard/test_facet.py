"""What a held job's submitter reads in the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from approvals import decisions
from approvals.dashboard.facet import approval_holds
from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Requirement
from approvals.reviewers import eligible
from cloudtrain_site.states import Source
from jobs.models import Organization
from jobs.roles import Role
from tests import factories
from tests.web import with_single_blanks

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def test_it_names_the_rule_its_reason_the_people_and_the_end(
    held: Outcome, request_: ApprovalRequest, client_of: Callable[..., Any], alice: User, bob: User
) -> None:
    answer = client_of(alice).get(f"/api/queue/position/{held.job.pk}").json()
    sentence = (
        f"Needs approval: {request_.reason.rstrip('.')} (rule “{request_.rule_name}”). 1 person can decide; "
        f"the request expires {request_.expires_at:%Y-%m-%d %H:%M} UTC."
    )
    assert answer["waiting_reason"] == sentence
    assert [(blocker["kind"], blocker["sentence"]) for blocker in answer["blockers"]] == [("approval", sentence)]


def test_the_page_of_the_queue_leaves_the_end_to_the_readers_clock(
    held: Outcome, request_: ApprovalRequest, alice: User, client: Client
) -> None:
    client.force_login(alice)
    shown = with_single_blanks(client.get("/queue").content.decode())
    end = f'<time data-until datetime="{request_.expires_at.isoformat()}">'
    assert f'<span class="line-label">expires </span>{end}' in shown
    assert shown.count(". Nobody can decide") == 1


def test_it_counts_the_further_rules_and_gives_all_reasons(
    submission_request: Callable[..., SubmissionRequest], bob: User
) -> None:
    ApprovalRule.objects.create(name="cpus", hardware="cpu", priority=1)
    for name in ("local", "again"):
        ApprovalRule.objects.create(name=name, provider="local")
    job = submit(submission_request()).job
    text = (
        "Needs approval: The hardware CPU is restricted. The provider local is restricted "
        "(rule “cpus” and 2 more). 1 person can decide"
    )
    assert approval_holds([job.pk], None)[job.pk].reason == text


def test_it_says_that_nobody_can_decide(held: Outcome, acme: Organization) -> None:
    assert approval_holds([held.job.pk], None)[held.job.pk].reason.endswith(". Nobody can decide")


@pytest.mark.parametrize(
    ("self_approval", "in_group", "people"),
    # Bob and Ada; in the group it is Alice and Bob, and Alice asked.
    [(True, False, 1), (False, False, 1), (True, True, 2), (False, True, 1)],
)
def test_it_counts_those_who_are_eligible(
    held: Outcome, alice: User, bob: User, acme: Organization, self_approval: bool, in_group: bool, people: int
) -> None:
    factories.make_user("ada", acme, Role.ADMIN)
    User.objects.update_or_create(username="bob", defaults={"is_active": in_group})
    group = Group.objects.create(name="reviewers")
    group.user_set.add(alice, bob, factories.make_user("outsider"))
    Requirement.objects.update(self_approval=self_approval, reviewer_group=group if in_group else None)
    assert eligible(ApprovalRequest.objects.get()).count() == people
    text = "1 person can decide" if people == 1 else f"{people} people can decide"
    assert approval_holds([held.job.pk], None)[held.job.pk].reason.endswith(f". {text}")


def test_a_page_of_held_jobs_costs_the_same_few_queries(
    submission_request: Callable[..., SubmissionRequest],
    first_job_rule: ApprovalRule,
    acme: Organization,
    django_assert_max_num_queries: Any,
) -> None:
    users = [factories.make_user(f"user-{number}", acme) for number in range(4)]
    jobs = [submit(submission_request(user=user)).job.pk for user in users]
    with django_assert_max_num_queries(3):
        assert set(approval_holds(jobs, users[0])) == set(jobs)


def test_what_was_decided_holds_nothing(held: Outcome, request_: ApprovalRequest, bob: User) -> None:
    assert decisions.approve(request_, user=bob, source=Source.API, notes="fine")
    assert approval_holds([held.job.pk], None) == {}
