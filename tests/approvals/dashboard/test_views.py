"""The page of the approvals without a browser: who sees what on it, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from approvals import decisions, reviewers
from approvals.dashboard import views
from approvals.dashboard.views import count_to_decide
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.reviewers import reviewer_objection, reviewer_objections
from cloudtrain_site.states import Source
from jobs.models import Job, Membership, Organization
from jobs.permissions import teams_of
from jobs.roles import Role
from tests.factories import make_user
from tests.web import queries_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
Hold = Callable[..., ApprovalRequest]


def get(user: User, address: str = "/approvals") -> str:
    return read_page(user, address)


@pytest.fixture
def hold(alice: User, submission_request: Callable[..., SubmissionRequest]) -> Hold:
    """A job that is held for its cost, and the request about it."""
    ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))

    def make(*, user: User = alice, name: str = "flux", **fields: Any) -> ApprovalRequest:
        held = submit(submission_request(user=user, config_name=name)).approval
        assert held is not None
        required = {key: fields.pop(key) for key in ("reviewer_group", "approvals_needed") if key in fields}
        held.requirements.update(reason="It is costly.", **required)
        ApprovalRequest.objects.filter(pk=held.pk).update(**{"reason": "It is costly.", **fields})
        return ApprovalRequest.objects.select_related("job").get(pk=held.pk)

    return make


def test_nobody_is_sent_to_the_login_and_a_script_is_told(client: Client) -> None:
    assert client.get("/approvals")["Location"] == "/login?next=/approvals"
    assert client.get("/approvals/now").status_code == 401
    assert client.get("/places/approvals-page").status_code == 401


def test_a_stranger_sees_nothing(hold: Hold, charlie: User) -> None:
    request = hold(name="a-secret")
    page = get(charlie)
    assert "a-secret" not in page and request.job_id not in page
    assert count_to_decide(charlie, teams_of(charlie)) == 0


def test_a_reviewer_decides_and_the_requester_takes_back(hold: Hold, alice: User, bob: User) -> None:
    hold()
    leads, requesters = get(bob), get(alice)
    assert 'data-act="approve"' in leads and 'data-act="reject"' in leads and 'data-act="cancel"' not in leads
    assert 'data-act="cancel"' in requesters and 'data-act="approve"' not in requesters
    assert "Only leads and admins of the organization can decide" in requesters
    assert [count_to_decide(user, teams_of(user)) for user in (bob, alice)] == [1, 0]


def test_list_and_queue_lead_to_the_request_those_alone_who_may_decide_it(
    hold: Hold, alice: User, bob: User, root: User, acme: Organization
) -> None:
    safety = Group.objects.create(name="safety")
    rita = make_user("rita", acme, Role.RESEARCHER)
    rita.groups.add(safety)
    for_leads, for_group = hold(name="for-leads"), hold(name="for-group", reviewer_group=safety)

    def leads_to(user: User) -> list[int]:
        found, in_queue = (re.findall(r'href="/approvals#request-(\d+)"', get(user, page)) for page in ("/", "/queue"))
        assert sorted(found) == sorted(in_queue)
        return [int(number) for number in found]

    assert leads_to(alice) == []
    assert leads_to(bob) == [for_leads.pk]
    assert leads_to(rita) == [for_group.pk]
    assert leads_to(root) == [for_group.pk, for_leads.pk]


def test_who_has_said_their_part_is_led_nowhere_any_more(hold: Hold, bob: User) -> None:
    request = hold(approvals_needed=2)
    assert decisions.approve(request, user=bob, source=Source.API)
    assert "/approvals#request-" not in get(bob, "/")


def test_one_that_is_further_down_is_shown_to_who_comes_for_it(
    hold: Hold, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MAX_PENDING_SHOWN", 1)
    hold(name="urgent")
    request = hold(name="less-urgent")
    assert "less-urgent" not in get(bob)
    for address in ("/approvals", "/approvals/now"):
        assert f'id="request-{request.pk}"' in get(bob, f"{address}?request={request.pk}")


def test_one_that_was_decided_long_ago_is_too(hold: Hold, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_DECIDED_SHOWN", 0)
    request = hold(name="of-old")
    decisions.reject(request, user=bob, source=Source.API, notes="no")
    assert "of-old" not in get(bob)
    assert "of-old" in get(bob, f"/approvals?request={request.pk}")


@pytest.mark.parametrize("number", ["{}", "999999999999999999"])
def test_one_that_is_not_the_readers_is_missing(hold: Hold, charlie: User, number: str) -> None:
    page = get(charlie, f"/approvals?request={number.format(hold(name='a-secret').pk)}")
    assert "This request isn’t here" in page and "a-secret" not in page


@pytest.mark.parametrize("number", ["", "0", "-1", "²", "x", "9" * 40])
def test_what_is_no_number_of_a_request_asks_for_none(bob: User, number: str) -> None:
    assert "isn’t here" not in get(bob, f"/approvals?request={number}")


def test_a_colleague_without_a_say_does_not_see_it(hold: Hold, acme: Organization) -> None:
    hold(name="alices-own")
    assert "alices-own" in get(make_user("leo", acme, Role.LEAD))
    assert "alices-own" not in get(make_user("rita", acme, Role.RESEARCHER))


def test_a_superuser_is_told_that_it_goes_past_the_reviewers(hold: Hold, root: User) -> None:
    hold()
    page = get(root)
    assert "data-goes-past" in page and 'data-act="approve"' in page


def test_what_was_decided_says_by_whom_and_why(hold: Hold, alice: User, bob: User) -> None:
    request = hold()
    decisions.reject(request, user=bob, source=Source.API, notes="use the <smaller> card")
    for page in (get(bob), get(alice)):
        assert "use the &lt;smaller&gt; card" in page and "Rejected" in page
        assert 'data-act="approve"' not in page
    assert "(1" not in get(bob, "/places/approvals-page")


@pytest.mark.parametrize("most_teams", [1, 8])
def test_the_last_decisions_of_several_organizations_are_in_one_order(
    hold: Hold, bob: User, acme: Organization, monkeypatch: pytest.MonkeyPatch, most_teams: int
) -> None:
    monkeypatch.setattr(views, "MOST_TEAMS", most_teams)
    monkeypatch.setattr(views, "MAX_DECIDED_SHOWN", 2)
    other = Organization.objects.create(name="other")
    Membership.objects.create(user=bob, organization=other, role=Role.LEAD)
    for number, organization in enumerate((other, acme, other)):
        at = timezone.now() - timedelta(hours=number)
        hold(name=f"decided-{number}", status="rejected", reviewed_at=at, organization=organization)
    page = get(bob)
    assert page.index("decided-0") < page.index("decided-1") and "decided-2" not in page
    others = get(bob, "/approvals?organization=other")
    assert others.index("decided-0") < others.index("decided-2") and "decided-1" not in others


def test_the_count_of_the_bar_is_that_of_its_reader(hold: Hold, alice: User, bob: User) -> None:
    hold()
    assert ">1<" in get(bob, "/places/approvals-page")
    assert get(alice, "/places/approvals-page").strip() == ""


def test_objections_to_many_are_those_to_each(hold: Hold, alice: User, bob: User, acme: Organization) -> None:
    group = Group.objects.create(name="safety")
    alice.groups.add(group)
    requests = [hold(), hold(user=bob), hold(reviewer_group=group)]
    rita = make_user("rita", acme, Role.ADMIN)
    for user in (alice, bob, rita):
        assert reviewer_objections(user, requests) == {
            request.pk: reviewer_objection(user, request) for request in requests
        }


def test_more_requests_cost_no_more_queries(hold: Hold, bob: User) -> None:
    client, counts = Client(), []
    client.force_login(bob)
    for count in (2, 10):
        for _ in range(count):
            hold()
        counts.append(queries_of(client, "/approvals"))
    assert counts[0] == counts[1]


def test_any_request_costs_no_more_queries(hold: Hold, alice: User, bob: User, root: User) -> None:
    client, counts = Client(), []
    for count in (1, 4):
        for _ in range(count):
            Job.objects.filter(pk=hold().job_id).update(estimated_cost_usd=None)
            hold(raise_to_usd=Decimal(9), up_to_usd=None)
            decisions.approve(hold(approvals_needed=2), user=bob, source=Source.API)
            decisions.reject(hold(), user=bob, source=Source.API, notes="Too much.")
        for reader in (alice, bob, root):
            client.force_login(reader)
            counts.append(queries_of(client, "/approvals"))
    assert counts[:3] == counts[3:]


@pytest.mark.parametrize("few", [0, 500])
def test_a_researcher_sees_the_decided_ones_of_their_own_and_those_they_review(
    hold: Hold, acme: Organization, bob: User, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewers, "FEW", few)
    rita = make_user("rita", acme, Role.RESEARCHER)
    for_researchers = hold(name="for-researchers")
    for_researchers.requirements.update(reviewer_role=Role.RESEARCHER)
    for request in (for_researchers, hold(name="for-leads"), hold(user=rita, name="ritas-own")):
        assert decisions.reject(request, user=bob, source=Source.API, notes="Too much.")
    page = get(rita)
    assert page.count("for-researchers</bdi>") == page.count("ritas-own</bdi>") == 1
    assert "for-leads" not in page


def test_filters_leave_what_they_say(hold: Hold, acme: Organization, alice: User, bob: User) -> None:
    hold(name="alices-own")
    decisions.approve(hold(name="half", approvals_needed=2), user=bob, source=Source.API)
    rita = make_user("rita", acme, Role.RESEARCHER)
    ApprovalRule.objects.create(name="cpu", provider="local")
    hold(name="ritas-own", user=rita)

    def shown(query: str) -> set[str]:
        page = get(bob, f"/approvals/now{query}")
        return {name for name in ("alices-own", "half", "ritas-own") if name in page}

    everything = {"alices-own", "half", "ritas-own"}
    assert shown("") == shown("?organization=acme&rule=costly") == everything
    assert shown("?person=rita") == shown("?rule=cpu") == {"ritas-own"}
    assert shown("?mine=yes") == {"alices-own", "ritas-own"}
    assert shown("?organization=elsewhere") == shown("?person=alice%00&rule=cpu") == set()
    page = get(bob, "/approvals?rule=gone&mine=yes")
    assert "No pending requests match these filters" in page and "/approvals/now?rule=gone&amp;mine=yes" in page
    assert get(alice, "/approvals?mine=yes").count("data-proposed") == 0
    assert "Mine to decide" in get(bob, "/approvals")
    page = get(alice, "/approvals")
    assert 'id="filters"' in page and "Mine to decide" not in page
    assert 'id="filters"' not in get(make_user("vera", acme, Role.VIEWER), "/approvals")


class TestSeveral:
    def post(self, user: User, requests: list[ApprovalRequest], verdict: str = "approve", **fields: Any) -> Any:
        client = Client()
        client.force_login(user)
        ids = [request.pk for request in requests]
        return client.post("/approvals/decide", {"id": ids, "verdict": verdict, **fields}, follow=True)

    def test_first_it_asks_with_the_sum_and_then_decides(self, hold: Hold, bob: User) -> None:
        requests = [hold(name="first"), hold(name="second"), hold(name="third")]
        page = self.post(bob, requests[:2])
        seen = {item.form["seen"].html_name: item.form["seen"].value() for item in page.context["items"]}
        assert "first" in page.content.decode() and "third" not in page.content.decode()
        assert page.context["sum"].cost == 2 * (requests[0].job.estimated_cost_usd or 0)
        amount = {f"request-{requests[0].pk}-amount": "3.5"}
        done = self.post(bob, requests[:2], decision="approve", reason="go on", **seen, **amount)
        assert "2 approved." in done.content.decode()
        found = ApprovalRequest.objects.order_by("pk")
        assert [one.status for one in found] == ["approved", "approved", "pending"]
        assert found[0].up_to_usd == Decimal("3.5")

    def test_what_has_changed_since_is_not_decided(self, hold: Hold, bob: User) -> None:
        request = hold()
        stale = {f"request-{request.pk}-seen": "another-state"}
        answer = self.post(bob, [request], decision="approve", **stale)
        assert "Nothing was decided" in answer.content.decode()
        assert ApprovalRequest.objects.get().status == "pending"

    def test_a_rejection_needs_a_reason(self, hold: Hold, bob: User) -> None:
        request = hold()
        assert "Give a reason" in self.post(bob, [request], "reject", decision="reject").content.decode()
        assert ApprovalRequest.objects.get().status == "pending"

    def test_nobody_decides_about_what_is_none_of_their_business(
        self, hold: Hold, alice: User, bob: User, charlie: User
    ) -> None:
        request = hold()
        assert "no longer there" in self.post(charlie, [request], decision="approve").content.decode()
        assert "1 not decided" in self.post(alice, [request], decision="approve").content.decode()
        for requests, verdict in (([], "approve"), ([request], "burn"), ([request], "")):
            assert "Nothing was decided" in self.post(bob, requests, verdict, decision="approve").content.decode()
        assert ApprovalRequest.objects.get().status == "pending"


def test_who_decides_nothing_is_told_who_sees_the_requests_of_others(
    hold: Hold, acme: Organization, bob: User, charlie: User
) -> None:
    hold()
    viewer = make_user("vera", acme, Role.VIEWER)
    page = get(viewer)
    assert "You have no pending requests" in page and "No decisions about your requests yet" in page
    assert "shown only to those who can decide" in page
    assert "No requests are pending" in get(charlie), "an admin of another organization, where nothing is"
    assert "pending requests" not in get(bob)
