"""Who decides about which request, in queries as one by one; and who is told that too few may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db.models import F, Q

from approvals import decisions, reviewers
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Requirement
from cloudtrain_site.states import Source
from jobs.models import Membership, Organization
from jobs.permissions import AnyUser, teams_of
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db
MakeRequest = Callable[..., SubmissionRequest]


@pytest.fixture
def ada(acme: Organization) -> User:
    return make_user("ada", acme, Role.ADMIN)


@pytest.fixture
def held_by(submission_request: MakeRequest) -> Callable[..., ApprovalRequest]:
    """A request about somebody's job that one rule holds, as the test says it."""

    def hold(*, user: User | None = None, **rule: Any) -> ApprovalRequest:
        ApprovalRule.objects.all().delete()
        ApprovalRule.objects.create(name="local", provider="local", **rule)
        submit(submission_request(**({"user": user} if user else {})))
        return ApprovalRequest.objects.select_related("job").latest("id")

    return hold


def chosen(condition: Q) -> list[int]:
    return list(ApprovalRequest.objects.filter(condition).order_by("id").values_list("pk", flat=True))


def decidable(user: AnyUser) -> list[int]:
    return chosen(reviewers.decidable_by(user, teams_of(user)))


def reviewed(user: AnyUser) -> list[int]:
    return chosen(reviewers.reviewed_by(user, teams_of(user)))


def awaiting(user: AnyUser) -> list[int]:
    found = ApprovalRequest.objects.annotate(awaits=reviewers.awaits_decision_by(user)).filter(awaits=True)
    return list(found.order_by("id").values_list("pk", flat=True))


def test_ones_own_request_is_for_others_to_decide(
    held_by: Callable[..., ApprovalRequest], alice: User, bob: User, charlie: User, root: User, ada: User
) -> None:
    alices, bobs = held_by(), held_by(user=bob)
    assert decidable(bob) == awaiting(bob) == [alices.pk]
    assert decidable(ada) == awaiting(ada) == decidable(root) == awaiting(root) == [alices.pk, bobs.pk]
    for nobody in (alice, charlie, AnonymousUser()):
        assert decidable(nobody) == awaiting(nobody) == []
    assert reviewed(bob) == [alices.pk, bobs.pk]
    assert reviewed(alice) == reviewed(AnonymousUser()) == []


def test_a_rule_may_allow_ones_own(held_by: Callable[..., ApprovalRequest], bob: User) -> None:
    own = held_by(user=bob, self_approval=True)
    assert decidable(bob) == awaiting(bob) == [own.pk]
    assert reviewers.eligible(own).get() == bob


def test_the_lowest_role_decides_and_those_above(
    held_by: Callable[..., ApprovalRequest], acme: Organization, bob: User, ada: User
) -> None:
    request = held_by(reviewer_role=Role.ADMIN)
    assert (decidable(bob), decidable(ada)) == ([], [request.pk])
    assert reviewers.reviewer_objection(bob, request) == "Only admins of the organization can decide about its jobs."
    assert reviewers.roles_from(Role.LEAD) == ["lead", "admin"]
    assert reviewers.roles_from("") == []


def test_a_group_decides_in_its_organization_alone(
    held_by: Callable[..., ApprovalRequest], acme: Organization, bob: User, charlie: User, ada: User
) -> None:
    safety, vera = Group.objects.create(name="safety"), make_user("vera", acme, Role.VIEWER)
    for member in (vera, charlie):
        member.groups.add(safety)
    request = held_by(reviewer_group=safety)
    assert (decidable(vera), decidable(bob), decidable(charlie), decidable(ada)) == ([request.pk], [], [], [])
    assert list(reviewers.eligible(request)) == [vera]
    text = "Only members of the group safety in the organization can decide about this job."
    assert [reviewers.reviewer_objection(user, request) for user in (bob, charlie, vera)] == [text, text, None]


def test_who_is_not_active_decides_nothing(held_by: Callable[..., ApprovalRequest], bob: User) -> None:
    request = held_by()
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert (awaiting(bob), list(reviewers.eligible(request))) == ([], [])
    assert reviewers.reviewer_objection(bob, request) is not None


def test_nobody_decides_what_has_all_its_approvals(held_by: Callable[..., ApprovalRequest], bob: User) -> None:
    request = held_by()
    assert list(reviewers.eligible(request)) == [bob]
    Requirement.objects.update(approvals_given=F("approvals_needed"))
    request = ApprovalRequest.objects.get()
    assert (decidable(bob), awaiting(bob), list(reviewers.eligible(request))) == ([], [], [])
    assert reviewed(bob) == [request.pk]


def test_the_first_user_is_neither_nobody_nor_a_requester_who_is_gone(
    held_by: Callable[..., ApprovalRequest], acme: Organization
) -> None:
    """An anonymous user has no id, and a request may have no requester; the id 1 is somebody's."""
    request = held_by()
    first = User.objects.filter(pk=1).first() or User.objects.create(pk=1, username="first")
    Membership.objects.update_or_create(user=first, organization=acme, defaults={"role": Role.ADMIN})
    nobody = AnonymousUser()
    assert reviewers.reviewer_objection(nobody, request) is not None
    ApprovalRequest.objects.update(requested_by=None)
    request.refresh_from_db()
    assert first in reviewers.eligible(request)
    assert (awaiting(first), awaiting(nobody)) == ([request.pk], [])
    assert reviewers.reviewer_objection(first, request) is None
    assert reviewers.request_warnings(request) == []
    assert reviewed(nobody) == decidable(nobody) == []


def test_each_request_goes_by_its_own_requirements_and_decisions(
    held_by: Callable[..., ApprovalRequest], acme: Organization, bob: User, ada: User
) -> None:
    safety, budget = Group.objects.create(name="safety"), Group.objects.create(name="budget")
    make_user("vera", acme, Role.VIEWER).groups.add(safety)
    bob.groups.add(budget)
    for_leads, for_two, for_admins = held_by(), held_by(approvals_needed=2), held_by(reviewer_role=Role.ADMIN)
    for_safety, for_budget = held_by(reviewer_group=safety), held_by(reviewer_group=budget)
    assert decidable(bob) == awaiting(bob) == [for_leads.pk, for_two.pk, for_budget.pk]
    assert decisions.approve(for_two, user=bob, source=Source.API)
    assert awaiting(bob) == [for_leads.pk, for_budget.pk]
    assert decidable(ada) == awaiting(ada) == [for_leads.pk, for_two.pk, for_admins.pk]
    assert [request.pk for request in (for_safety, for_budget) if reviewers.reviewer_objection(ada, request)] == [
        for_safety.pk,
        for_budget.pk,
    ]


def test_a_request_of_no_organization_is_for_superusers_alone(
    held_by: Callable[..., ApprovalRequest], acme: Organization, bob: User, root: User
) -> None:
    """The organization with the id 1 is somebody's."""
    request = held_by()
    if acme.pk != 1:
        first = Organization.objects.create(pk=1, name="first")
        Membership.objects.create(user=bob, organization=first, role=Role.LEAD)
    ApprovalRequest.objects.update(organization=None)
    request.refresh_from_db()
    assert (decidable(bob), awaiting(bob)) == ([], [])
    assert reviewers.reviewer_objection(bob, request) is not None
    assert reviewers.decision_objection(root, request) is None


def test_a_superuser_decides_for_a_group_and_ones_own_goes_by_its_own_rules(
    held_by: Callable[..., ApprovalRequest], bob: User, root: User
) -> None:
    allowed = held_by(user=bob, self_approval=True)
    for_group = held_by(user=bob, reviewer_group=Group.objects.create(name="safety"))
    assert decidable(root) == awaiting(root) == [allowed.pk, for_group.pk]
    assert decidable(bob) == awaiting(bob) == [allowed.pk]


def test_a_reviewer_is_needed_until_all_that_they_review_is_met(
    held_by: Callable[..., ApprovalRequest], bob: User, ada: User
) -> None:
    request = held_by()
    assert reviewers.reviewer_objection(ada, request) is None
    first = request.requirements.get()
    Requirement.objects.create(
        request=request,
        position=1,
        rule_name="further",
        reason="r",
        reviewer_role=Role.ADMIN,
        approvals_needed=1,
        self_approval=False,
        expires_after_hours=1,
    )
    Requirement.objects.filter(pk=first.pk).update(approvals_given=1)
    request = ApprovalRequest.objects.get()
    assert reviewers.reviewer_objection(ada, request) is None
    assert reviewers.reviewer_objection(bob, request) == "Your approval isn’t needed. The request waits for admins."
    assert decisions.reject(request, user=ada, source=Source.API, notes="no")
    assert reviewers.reviewer_objection(bob, request) is None


def test_who_has_approved_is_not_asked_again(
    held_by: Callable[..., ApprovalRequest], bob: User, ada: User, root: User
) -> None:
    request = held_by(approvals_needed=2)
    assert decisions.approve(request, user=bob, source=Source.API)
    assert (awaiting(bob), awaiting(ada), awaiting(root)) == ([], [request.pk], [request.pk])


def test_the_reviewers_are_counted_in_the_query_that_reads_the_requests(
    held_by: Callable[..., ApprovalRequest], bob: User, ada: User, charlie: User
) -> None:
    held_by(), held_by(user=bob), held_by(reviewer_role=Role.ADMIN), held_by(user=ada, reviewer_role=Role.ADMIN)
    counted: Any = reviewers.with_deciders(ApprovalRequest.objects.order_by("id"))
    assert [request.deciders for request in counted] == [2, 1, 1, 0]
    assert [reviewers.eligible(request).count() for request in counted] == [2, 1, 1, 0]


def test_a_superuser_goes_past_the_reviewers_or_past_further_approvals(
    held_by: Callable[..., ApprovalRequest], acme: Organization, bob: User, root: User
) -> None:
    for_one, for_two = held_by(), held_by(approvals_needed=2)
    assert reviewers.decision_objection(root, for_one) is None
    assert (reviewers.bypasses(root, for_one), reviewers.may_bypass(root, for_two)) == (True, False)
    assert (reviewers.bypasses(bob, for_two), reviewers.may_bypass(bob, for_two)) == (False, False)
    Membership.objects.create(user=root, organization=acme, role=Role.LEAD)
    assert (reviewers.bypasses(root, for_one), reviewers.bypasses(root, for_two)) == (False, False)
    assert (reviewers.may_bypass(root, for_one), reviewers.may_bypass(root, for_two)) == (False, True)


def test_exactly_as_many_reviewers_as_a_rule_needs_are_enough(acme: Organization, bob: User, charlie: User) -> None:
    everywhere = ApprovalRule.objects.create(name="r", first_job=True)
    assert reviewers.rule_warnings(everywhere) == []
    everywhere.approvals_needed = 2
    (first, second) = reviewers.rule_warnings(everywhere)
    text = "Organization {} has 1 of the 2 reviewers that the rule needs. Requests there expire without a decision."
    assert {first, second} == {text.format("acme"), text.format("other")}
    everywhere.organization = acme
    assert reviewers.rule_warnings(everywhere) == [text.format("acme")]


def test_a_request_with_too_few_reviewers_says_so_while_it_is_open(
    held_by: Callable[..., ApprovalRequest], bob: User, ada: User
) -> None:
    assert reviewers.request_warnings(None) == []
    assert reviewers.request_warnings(held_by(approvals_needed=2)) == []
    request = held_by(approvals_needed=3)
    text = "This request needs 3 approvals, but only 2 can approve. Ask an admin."
    assert reviewers.request_warnings(request) == [text]
    Requirement.objects.update(approvals_given=F("approvals_needed"))
    assert reviewers.request_warnings(ApprovalRequest.objects.get(pk=request.pk)) == []
    Requirement.objects.update(approvals_given=0)
    assert decisions.reject(request, user=bob, source=Source.API, notes="no")
    assert reviewers.request_warnings(request) == []
