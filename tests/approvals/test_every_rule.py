"""A job that several rules hold: each of them counts, with its own reviewers and its own number of approvals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from approvals import decisions
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Decision, Requirement
from approvals.reviewers import decision_objection
from approvals.statuses import Verdict
from cloudtrain_site.states import Source
from jobs.models import JobEvent, Membership, Organization
from jobs.roles import Role
from queueing.models import QueueEntry
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
MakeRequest = Callable[..., SubmissionRequest]
URL = "/api/approvals"


@pytest.fixture
def ada(acme: Organization) -> User:
    """An admin: she decides for both rules."""
    return make_user("ada", acme, Role.ADMIN)


@pytest.fixture
def safety(acme: Organization) -> Group:
    """A group of which only vera, a viewer, is a member."""
    group = Group.objects.create(name="safety")
    make_user("vera", acme, Role.VIEWER).groups.add(group)
    return group


@pytest.fixture
def for_both(submission_request: MakeRequest, safety: Group) -> ApprovalRequest:
    """A request about alice's job: leads decide for the rule cpus, the group safety for the rule local."""
    ApprovalRule.objects.create(name="cpus", hardware="cpu", priority=1, expires_after_hours=48)
    ApprovalRule.objects.create(name="local", provider="local", reviewer_group=safety, expires_after_hours=6)
    return held_by(submission_request)


def held_by(submission_request: MakeRequest, **fields: Any) -> ApprovalRequest:
    submit(submission_request(**fields))
    return ApprovalRequest.objects.select_related("job").latest("id")


def vera() -> User:
    return User.objects.get(username="vera")


def approvals_of(request: ApprovalRequest) -> list[tuple[str, int, int]]:
    return list(request.requirements.values_list("rule_name", "approvals_given", "approvals_needed"))


def status() -> tuple[str, str]:
    return ApprovalRequest.objects.get().status, QueueEntry.objects.get().status


def approve(request: ApprovalRequest, user: User, **more: Any) -> bool:
    return decisions.approve(ApprovalRequest.objects.get(pk=request.pk), user=user, source=Source.API, **more)


def test_a_request_names_every_rule_in_the_order_of_their_priorities(for_both: ApprovalRequest) -> None:
    assert (for_both.rule_name, for_both.reason) == (
        "cpus",
        "The hardware CPU is restricted. The provider local is restricted.",
    )
    assert approvals_of(for_both) == [("cpus", 0, 1), ("local", 0, 1)]
    assert status() == ("pending", "blocked")


def test_the_shortest_life_of_the_rules_counts(for_both: ApprovalRequest) -> None:
    assert for_both.expires_at - for_both.requested_at == timedelta(hours=6)


def test_a_job_waits_until_every_rule_has_its_approvals(for_both: ApprovalRequest, bob: User) -> None:
    assert approve(for_both, bob, notes="fine")
    assert (status(), approvals_of(for_both)) == (("pending", "blocked"), [("cpus", 1, 1), ("local", 0, 1)])
    line = JobEvent.objects.filter(subject="approval").latest("id")
    assert line.reason == "1 of 1 approvals for cpus, 0 of 1 for local: fine"
    assert approve(for_both, vera())
    assert status() == ("approved", "pending")


def test_one_approval_counts_for_each_rule_that_its_author_decides_for(
    for_both: ApprovalRequest, bob: User, safety: Group
) -> None:
    bob.groups.add(safety)
    assert approve(for_both, bob)
    assert status() == ("approved", "pending")
    assert Decision.objects.get().counted_for.count() == 2


def test_each_rule_needs_its_own_number(
    submission_request: MakeRequest, bob: User, ada: User, acme: Organization
) -> None:
    ApprovalRule.objects.create(name="leads", hardware="cpu", approvals_needed=3)
    ApprovalRule.objects.create(name="admins", provider="local", reviewer_role=Role.ADMIN)
    request = held_by(submission_request)
    for user, expected in ((ada, [1, 1]), (bob, [2, 1]), (make_user("carol", acme, Role.LEAD), [3, 1])):
        assert ApprovalRequest.objects.get().status == "pending"
        assert approve(request, user)
        assert [count for _, count, _ in approvals_of(request)] == expected
    assert status() == ("approved", "pending")


def test_who_decides_for_no_rule_that_waits_is_refused(
    for_both: ApprovalRequest, bob: User, ada: User, alice: User, client_of: ClientOf
) -> None:
    approve(for_both, bob)
    for user, text in (
        (ada, "Your approval isn’t needed. The request waits for members of the group safety."),
        (make_user("rita", Organization.objects.get(name="acme"), Role.RESEARCHER), "Only members of the group safety"),
    ):
        response = client_of(user).post(f"{URL}/{for_both.pk}/approve")
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
        assert text in response.json()["detail"]
        assert not approve(for_both, user)
    assert (approvals_of(for_both), Decision.objects.count()) == ([("cpus", 1, 1), ("local", 0, 1)], 1)


def test_who_decides_for_none_reads_who_does(for_both: ApprovalRequest, acme: Organization) -> None:
    objection = decision_objection(make_user("rita", acme, Role.RESEARCHER), for_both)
    assert objection == (
        "Only leads and admins, or members of the group safety in the organization can decide about this job."
    )


def test_who_approved_for_a_rule_that_is_met_is_told_what_is_missing(
    for_both: ApprovalRequest, bob: User, client_of: ClientOf
) -> None:
    client = client_of(bob)
    assert client.post(f"{URL}/{for_both.pk}/approve").json()["status"] == "pending"
    again = client.post(f"{URL}/{for_both.pk}/approve")
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert "You already approved at" in again.json()["detail"]
    assert "The request still needs 1 more for local from others" in again.json()["detail"]
    assert Decision.objects.count() == 1


def test_what_an_approval_counted_for_outlives_its_authors_demotion(
    for_both: ApprovalRequest, bob: User, ada: User
) -> None:
    approve(for_both, bob)
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    assert approve(for_both, vera())
    assert status() == ("approved", "pending")


def test_a_role_gained_after_the_approval_counts_for_nothing_more(
    for_both: ApprovalRequest, bob: User, safety: Group
) -> None:
    approve(for_both, bob)
    bob.groups.add(safety)
    assert not approve(for_both, bob)
    assert (status(), approvals_of(for_both)) == (("pending", "blocked"), [("cpus", 1, 1), ("local", 0, 1)])


@pytest.mark.parametrize(("lenient", "allowed"), [(1, False), (2, True)])
def test_ones_own_job_needs_the_leave_of_every_rule(
    submission_request: MakeRequest, bob: User, lenient: int, allowed: bool
) -> None:
    ApprovalRule.objects.create(name="a", hardware="cpu", self_approval=True)
    ApprovalRule.objects.create(name="b", provider="local", self_approval=lenient == 2)
    request = held_by(submission_request, user=bob)
    assert (decision_objection(bob, request) is None) is allowed
    assert (decision_objection(bob, request, Verdict.REJECT) is None) is allowed
    assert approve(request, bob) is allowed
    assert (ApprovalRequest.objects.get().status == "approved") is allowed


@pytest.mark.parametrize("met", [True, False])
def test_whoever_may_decide_one_of_them_rejects(
    for_both: ApprovalRequest, bob: User, ada: User, client_of: ClientOf, met: bool
) -> None:
    if met:
        approve(for_both, bob)
    answer = client_of(ada).post(f"{URL}/{for_both.pk}/reject", {"reason": "no"})
    assert (answer.status_code, status()) == (200, ("rejected", "failed"))
    assert not Decision.objects.get(name="ada").bypass


def test_who_may_decide_none_does_not_reject(for_both: ApprovalRequest, alice: User, client_of: ClientOf) -> None:
    assert client_of(alice).post(f"{URL}/{for_both.pk}/reject", {"reason": "no"}).status_code == 403
    assert status() == ("pending", "blocked")


def test_an_approval_turned_into_a_rejection_counts_for_nothing(for_both: ApprovalRequest, bob: User) -> None:
    approve(for_both, bob)
    assert decisions.reject(ApprovalRequest.objects.get(), user=bob, source=Source.API, notes="no")
    assert approvals_of(for_both) == [("cpus", 0, 1), ("local", 0, 1)]
    assert not Decision.objects.get().counted_for.exists()


def test_a_superuser_who_decides_for_one_rule_counts_there_and_waits_for_the_other(
    for_both: ApprovalRequest, root: User, acme: Organization, client_of: ClientOf
) -> None:
    acme.memberships.create(user=root, role=Role.LEAD)
    client = client_of(root)
    assert client.post(f"{URL}/{for_both.pk}/approve").json()["status"] == "pending"
    assert (approvals_of(for_both), Decision.objects.get().bypass) == ([("cpus", 1, 1), ("local", 0, 1)], False)


@pytest.mark.parametrize("is_member", [True, False])
def test_a_superuser_goes_past_every_rule_with_a_reason(
    for_both: ApprovalRequest, root: User, acme: Organization, client_of: ClientOf, is_member: bool
) -> None:
    if is_member:
        acme.memberships.create(user=root, role=Role.LEAD)
    body = {"reason": "", "bypass": True}
    assert client_of(root).post(f"{URL}/{for_both.pk}/approve", body).status_code == 400
    assert status() == ("pending", "blocked")
    answer = client_of(root).post(f"{URL}/{for_both.pk}/approve", body | {"reason": "the deadline"})
    assert (answer.json()["status"], status()) == ("approved", ("approved", "pending"))
    assert ApprovalRequest.objects.get().bypassed


def test_an_organizations_rule_takes_none_of_the_sites_out_of_force(
    submission_request: MakeRequest, alice: User, bob: User, acme: Organization, client_of: ClientOf
) -> None:
    ApprovalRule.objects.create(name="site", provider="local", reviewer_role=Role.ADMIN, approvals_needed=2)
    lenient = {"reviewer_role": "researcher", "self_approval": True, "exempt_roles": ["lead"]}
    ApprovalRule.objects.create(name="own", organization=acme, priority=-(2**31), provider="local", **lenient)
    request = held_by(submission_request)
    assert approvals_of(request) == [("own", 0, 1), ("site", 0, 2)]
    assert client_of(alice).post(f"{URL}/{request.pk}/approve").status_code == 403
    assert client_of(bob).post(f"{URL}/{request.pk}/approve").json()["status"] == "pending"
    assert approvals_of(request) == [("own", 1, 1), ("site", 0, 2)]
    assert approvals_of(held_by(submission_request, user=bob)) == [("site", 0, 2)]


def test_a_later_change_of_the_rules_does_not_apply(for_both: ApprovalRequest, bob: User, safety: Group) -> None:
    ApprovalRule.objects.update(approvals_needed=5, reviewer_role=Role.ADMIN, reviewer_group=None, priority=7)
    ApprovalRule.objects.filter(name="local").delete()
    assert approve(for_both, bob)
    assert status() == ("pending", "blocked")
    assert approve(for_both, vera())
    assert status() == ("approved", "pending")


def test_nobody_decides_in_the_place_of_a_group_that_is_gone(
    for_both: ApprovalRequest, alice: User, bob: User, ada: User, safety: Group, root: User
) -> None:
    ApprovalRule.objects.filter(name="local").delete()
    safety.delete()
    assert approve(for_both, bob)
    assert not approve(for_both, ada)
    assert status() == ("pending", "blocked")
    assert "superusers only (the group was deleted)" in str(decision_objection(ada, for_both))
    gone = "Only superusers can decide about this job: the rule's group was deleted."
    assert decision_objection(alice, ApprovalRequest.objects.get()) == gone
    assert approve(for_both, root, notes="I may")
    assert status() == ("approved", "pending")


def test_the_api_tells_of_every_rule(for_both: ApprovalRequest, bob: User, client_of: ClientOf) -> None:
    approve(for_both, bob)
    shown = client_of(bob).get(f"{URL}/{for_both.pk}").json()["approval"]
    assert (shown["rule"], shown["reason"]) == (
        "cpus",
        "The hardware CPU is restricted. The provider local is restricted.",
    )
    assert [(rule["name"], rule["reason"], rule["decided_by"]) for rule in shown["rules"]] == [
        ("cpus", "The hardware CPU is restricted.", "leads and admins"),
        ("local", "The provider local is restricted.", "members of the group safety"),
    ]
    assert [(rule["approvals_given"], rule["approvals_needed"]) for rule in shown["rules"]] == [(1, 1), (0, 1)]
    assert shown["decisions"][0]["rules"] == ["cpus"]
    assert client_of(bob).get(URL).json()["approvals"] == [shown]


def test_a_request_without_any_requirement_is_approved_by_superusers_alone(
    for_both: ApprovalRequest, bob: User, root: User
) -> None:
    Requirement.objects.all().delete()
    assert not approve(for_both, bob)
    assert approve(for_both, root, notes="I may")
