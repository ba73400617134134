"""Several approvals, one's own, the superuser's way without the reviewers, and many requests at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from approvals import decisions
from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Decision
from approvals.reviewers import decision_objection
from cloudtrain_site.states import Source
from jobs.models import JobEvent, Organization
from jobs.roles import Role
from queueing.models import QueueEntry
from tests.events import published_events
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
MakeRequest = Callable[..., SubmissionRequest]
URL = "/api/approvals"


@pytest.fixture
def carol(acme: Organization) -> User:
    """Another lead."""
    return make_user("carol", acme, Role.LEAD)


@pytest.fixture
def for_two(submission_request: MakeRequest, first_job_rule: ApprovalRule) -> ApprovalRequest:
    """A request that needs two approvals."""
    ApprovalRule.objects.update(approvals_needed=2)
    submit(submission_request())
    return ApprovalRequest.objects.select_related("job").get()


def test_the_first_of_two_approvals_is_history_and_releases_nothing(for_two: ApprovalRequest, bob: User) -> None:
    before = published_events().latest("eid").eid
    assert decisions.approve(for_two, user=bob, source=Source.API, notes="fine by me")
    assert (for_two.status, QueueEntry.objects.get().status) == ("pending", "blocked")
    line = JobEvent.objects.filter(subject="approval").latest("id")
    assert (line.actor, line.old, line.new, line.reason) == (
        "bob",
        "pending",
        "pending",
        "1 of 2 approvals: fine by me",
    )
    event = json.loads(published_events().get(eid__gt=before).data)
    assert (event["type"], event["approval_id"]) == ("approval_requested", for_two.pk)
    assert (
        event["message"]
        == f"{for_two.job.config_name} still needs approval; bob approved: 1 of 2 approvals: fine by me"
    )


def test_an_approval_that_does_not_count_is_not_told(for_two: ApprovalRequest, bob: User) -> None:
    assert decisions.approve(for_two, user=bob, source=Source.API)
    count = published_events().count()
    assert not decisions.approve(for_two, user=bob, source=Source.API)
    assert published_events().count() == count


def test_the_second_approval_releases_the_job(for_two: ApprovalRequest, bob: User, carol: User) -> None:
    decisions.approve(for_two, user=bob, source=Source.API)
    assert decisions.approve(for_two, user=carol, source=Source.ADMIN, notes="go")
    assert (for_two.status, for_two.reviewed_by, QueueEntry.objects.get().status) == ("approved", "carol", "pending")
    assert list(Decision.objects.values_list("name", "verdict", "source")) == [
        ("bob", "approve", "api"),
        ("carol", "approve", "admin"),
    ]


def test_the_same_person_twice_does_not_count(for_two: ApprovalRequest, bob: User, client_of: ClientOf) -> None:
    client = client_of(bob)
    first = client.post(f"{URL}/{for_two.pk}/approve")
    assert (first.status_code, first.json()["status"]) == (200, "pending")
    second = client.post(f"{URL}/{for_two.pk}/approve")
    assert second.status_code == 409
    assert "You already approved at" in second.json()["detail"]
    assert "still needs 1 more" in second.json()["detail"]
    assert Decision.objects.count() == 1


def test_who_approved_may_still_reject_and_one_rejection_is_enough(for_two: ApprovalRequest, bob: User) -> None:
    decisions.approve(for_two, user=bob, source=Source.API)
    assert decisions.reject(for_two, user=bob, source=Source.API, notes="I had overlooked the price")
    assert for_two.status == "rejected"
    assert Decision.objects.get().verdict == "reject"


def test_ones_own_counts_when_the_rule_allows_it(
    submission_request: MakeRequest, bob: User, first_job_rule: ApprovalRule
) -> None:
    submit(submission_request(user=bob))
    assert decision_objection(bob, ApprovalRequest.objects.get()) is not None
    ApprovalRule.objects.update(self_approval=True)
    allowed = submit(submission_request(user=bob)).approval
    assert allowed is not None
    assert decision_objection(bob, allowed) is None


def test_a_group_decides_within_the_organization_alone(
    submission_request: MakeRequest,
    alice: User,
    bob: User,
    charlie: User,
    acme: Organization,
    first_job_rule: ApprovalRule,
) -> None:
    group = Group.objects.create(name="budget")
    ApprovalRule.objects.update(reviewer_group=group)
    vera = make_user("vera", acme, Role.VIEWER)
    for member in (vera, charlie):
        member.groups.add(group)
    request = submit(submission_request()).approval
    assert request is not None
    assert decision_objection(vera, request) is None
    assert "group budget" in str(decision_objection(bob, request))
    assert "group budget" in str(decision_objection(charlie, request))


def test_a_rule_may_want_admins(
    submission_request: MakeRequest, bob: User, acme: Organization, first_job_rule: ApprovalRule
) -> None:
    ApprovalRule.objects.update(reviewer_role=Role.ADMIN)
    request = submit(submission_request()).approval
    assert request is not None
    assert decision_objection(bob, request) == "Only admins of the organization can decide about its jobs."
    assert decision_objection(make_user("ada", acme, Role.ADMIN), request) is None


def test_a_change_of_the_rule_does_not_reach_back(for_two: ApprovalRequest, bob: User) -> None:
    ApprovalRule.objects.update(approvals_needed=1, reviewer_role=Role.ADMIN)
    ApprovalRule.objects.all().delete()
    for_two.refresh_from_db()
    decisions.approve(for_two, user=bob, source=Source.API)
    assert (for_two.status, decision_objection(bob, for_two)) == ("pending", None)


def test_a_superuser_goes_past_the_reviewers_with_a_reason(
    for_two: ApprovalRequest, root: User, client_of: ClientOf
) -> None:
    client = client_of(root)
    silent = client.post(f"{URL}/{for_two.pk}/approve")
    assert (silent.status_code, "Give a reason" in silent.json()["detail"]) == (400, True)
    assert client.post(f"{URL}/{for_two.pk}/approve", {"reason": "the deadline"}).json()["status"] == "approved"
    shown = client.get(f"{URL}/{for_two.pk}").json()["approval"]
    assert (shown["bypassed"], shown["decisions"][0]["bypass"]) == (True, True)
    line = JobEvent.objects.get(subject="approval", new="approved")
    assert line.reason == "without the reviewers, as superuser: the deadline"


def test_a_superuser_who_is_a_reviewer_bypasses_only_when_they_say_so(
    for_two: ApprovalRequest, root: User, acme: Organization, client_of: ClientOf
) -> None:
    acme.memberships.create(user=root, role=Role.LEAD)
    client = client_of(root)
    assert client.post(f"{URL}/{for_two.pk}/approve").json()["status"] == "pending"
    assert not Decision.objects.get().bypass


def test_only_a_superuser_bypasses(for_two: ApprovalRequest, bob: User, client_of: ClientOf) -> None:
    response = client_of(bob).post(f"{URL}/{for_two.pk}/approve", {"reason": "now!", "bypass": True})
    assert response.status_code == 403
    assert ApprovalRequest.objects.get().status == "pending"


def test_many_at_once_get_an_answer_each(
    submission_request: MakeRequest, bob: User, charlie: User, client_of: ClientOf, first_job_rule: ApprovalRule
) -> None:
    ids = [submit(submission_request()).approval.pk for _ in range(2)]  # type: ignore[union-attr]
    own = submit(submission_request(user=bob)).approval
    foreign = submit(submission_request(user=charlie)).approval
    assert own is not None
    assert foreign is not None
    decisions.reject(ApprovalRequest.objects.get(pk=ids[1]), user=bob, source=Source.API, notes="no")
    body = {"ids": [*ids, ids[0], own.pk, foreign.pk, 10**12], "reason": "fine"}
    answer = client_of(bob).post(f"{URL}/bulk-approve", body).json()
    assert (answer["success"], answer["decided"]) == (False, 1)
    results = [(item["id"], item["code"], item["status"]) for item in answer["results"]]
    assert results == [
        (ids[0], None, "approved"),
        (ids[1], "already_decided", "rejected"),
        (own.pk, "permission_denied", "pending"),
        (foreign.pk, "not_found", None),
        (10**12, "not_found", None),
    ]
    assert "already rejected by bob" in answer["results"][1]["detail"]


def test_many_are_rejected_with_one_reason(
    held: Outcome, request_: ApprovalRequest, bob: User, client_of: ClientOf
) -> None:
    client = client_of(bob)
    assert client.post(f"{URL}/bulk-reject", {"ids": [request_.pk]}).status_code == 400
    answer = client.post(f"{URL}/bulk-reject", {"ids": [request_.pk], "reason": "budget"}).json()
    assert (answer["success"], answer["decided"]) == (True, 1)
    assert ApprovalRequest.objects.get().review_notes == "budget"


@pytest.mark.parametrize("ids", [[], list(range(1, 2001)), ["x"], "all", [0], [-1], [10**30], None])
@pytest.mark.parametrize("verb", ["bulk-approve", "bulk-reject"])
def test_a_list_of_ids_that_is_none_is_refused(
    request_: ApprovalRequest, bob: User, client_of: ClientOf, verb: str, ids: object
) -> None:
    response = client_of(bob).post(f"{URL}/{verb}", {"ids": ids, "reason": "x"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert ApprovalRequest.objects.get().status == "pending"
