"""Pages, counts and mails take every rule into account that holds a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.test import Client
from rest_framework.test import APIClient

from approvals import decisions, health
from approvals.dashboard.views import count_to_decide
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.notices.sending import send_due
from cloudtrain_site.states import Source
from jobs.models import Organization
from jobs.permissions import teams_of
from jobs.roles import Role
from tests.factories import make_user
from tests.web import read_page, with_single_blanks

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ADMIN = "/admin/approvals/approvalrequest/"


@pytest.fixture
def vera(acme: Organization) -> User:
    """A viewer, the only member of the group safety."""
    vera = make_user("vera", acme, Role.VIEWER)
    vera.groups.add(Group.objects.create(name="safety"))
    return vera


@pytest.fixture
def hold(submission_request: Callable[..., SubmissionRequest], vera: User) -> Callable[[], ApprovalRequest]:
    """Hold a job of alice's: leads decide for the rule cpus, vera for the rule local."""
    ApprovalRule.objects.create(name="cpus", hardware="cpu", priority=1)
    ApprovalRule.objects.create(name="local", provider="local", reviewer_group=Group.objects.get())

    def make() -> ApprovalRequest:
        submit(submission_request())
        return ApprovalRequest.objects.select_related("job").latest("id")

    return make


def approve(request: ApprovalRequest, user: User) -> None:
    assert decisions.approve(ApprovalRequest.objects.get(pk=request.pk), user=user, source=Source.API)


def shown_to(user: User, address: str = "/approvals") -> str:
    return with_single_blanks(read_page(user, address))


def to_decide(user: User) -> int:
    return count_to_decide(user, teams_of(user))


def test_the_page_names_each_rule_with_its_approvals(
    hold: Callable[[], ApprovalRequest], alice: User, bob: User
) -> None:
    request = hold()
    approve(request, bob)
    for address in ("/approvals", f"/jobs/{request.job_id}"):
        page = shown_to(alice, address)
        assert "Holds jobs on CPU. Needs 1 approval by leads and admins." in page
        assert "Holds jobs for This machine. Needs 1 approval by members of the group safety." in page
        assert page.index("1 of 1 approvals") < page.index("0 of 1 approvals")


def test_it_waits_for_those_whose_rule_lacks_an_approval(
    hold: Callable[[], ApprovalRequest], bob: User, vera: User, acme: Organization, root: User
) -> None:
    ada = make_user("ada", acme, Role.ADMIN)
    request = hold()
    assert [to_decide(user) for user in (ada, bob, vera, root)] == [1, 1, 1, 1]
    approve(request, bob)
    assert [to_decide(user) for user in (ada, bob, vera, root)] == [0, 0, 1, 1]
    approve(request, vera)
    assert [to_decide(user) for user in (ada, bob, vera, root)] == [0, 0, 0, 0]


def test_who_may_reject_alone_gets_that_button_alone(
    hold: Callable[[], ApprovalRequest], bob: User, vera: User, acme: Organization, client: Client
) -> None:
    ada = make_user("ada", acme, Role.ADMIN)
    request = hold()
    assert 'data-act="approve"' in shown_to(ada)
    approve(request, bob)
    page = shown_to(ada)
    assert "Your approval isn’t needed. The request waits for members of the group safety." in page
    assert ('data-act="approve"' in page, 'data-act="reject"' in page) == (False, True)
    assert 'data-act="approve"' in shown_to(vera)
    page = shown_to(ada, f"{ADMIN}{request.pk}/change/")
    assert ('value="approve"' in page, 'value="reject"' in page) == (False, True)
    client.force_login(ada)
    client.post(f"{ADMIN}{request.pk}/decide", {"decision": "reject", "reason": "no"})
    assert ApprovalRequest.objects.get().status == "rejected"


def test_the_admin_lists_filters_and_shows_every_rule(hold: Callable[[], ApprovalRequest], bob: User) -> None:
    request = hold()
    assert "cpus, local</td>" in shown_to(bob, ADMIN)
    for rule in ("cpus", "local"):
        assert ">flux</bdi> #1</a>" in shown_to(bob, f"{ADMIN}?rule={rule}")
    assert ">flux</bdi> #1</a>" not in shown_to(bob, f"{ADMIN}?rule=other")
    page = shown_to(bob, f"{ADMIN}{request.pk}/change/")
    assert (
        "<strong>cpus</strong>: Holds jobs on CPU. Needs 1 approval by leads and admins. "
        "The hardware CPU is restricted. 0 of 1" in page
    )
    assert "<strong>local</strong>: Holds jobs for This machine." in page


def test_many_at_once_count_each_for_what_its_author_decides_for(
    hold: Callable[[], ApprovalRequest], bob: User, vera: User, client: Client
) -> None:
    requests = [hold(), hold()]
    client.force_login(bob)
    chosen = {"action": "approve_selected", "_selected_action": [item.pk for item in requests]}
    page = client.post(ADMIN, {**chosen, "decision": "approve", "reason": ""}, follow=True).content.decode()
    assert "2 counted, more approvals needed." in page
    assert "Your approval counts: 1 of 1 approvals for cpus, 0 of 1 for local." in page


@pytest.mark.parametrize(("address", "limit"), [("/approvals", 25), (ADMIN, 15), ("/api/approvals", 15)])
def test_more_requests_of_several_rules_cost_no_more_queries(
    hold: Callable[[], ApprovalRequest], bob: User, address: str, limit: int, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        approve(hold(), bob)
    client = Client()
    client.force_login(bob)
    client.get("/admin/")  # the first request of a session stores where it is
    with django_assert_max_num_queries(limit):
        assert client.get(address).status_code == 200


def recipients() -> list[str]:
    send_due()
    return sorted(address for message in mail.outbox for address in message.to)


def test_each_who_decides_for_some_rule_is_asked_once(
    hold: Callable[[], ApprovalRequest], bob: User, vera: User, acme: Organization
) -> None:
    ada = make_user("ada", acme, Role.ADMIN)
    ada.groups.add(Group.objects.get())
    hold()
    assert recipients() == sorted(user.email for user in (ada, bob, vera))
    body = mail.outbox[0].body
    assert "Rule        cpus: 0 of 1 approvals by leads and admins\n" in body
    assert "Rule        local: 0 of 1 approvals by members of the group safety\n" in body


def test_who_decides_for_rules_that_are_met_is_not_asked(
    hold: Callable[[], ApprovalRequest], bob: User, vera: User, acme: Organization
) -> None:
    make_user("ada", acme, Role.ADMIN)
    approve(hold(), bob)
    assert recipients() == [vera.email]


def test_a_rule_without_reviewers_is_named_and_counted_once(
    hold: Callable[[], ApprovalRequest], alice: User, bob: User, vera: User, client_of: Callable[[User], APIClient]
) -> None:
    hold()
    assert health.warning() == ""
    ApprovalRule.objects.update(approvals_needed=2)
    body = {"config": {"max_train_steps": 10}, "hardware_profile": "cpu"}
    assert client_of(alice).post("/api/cloud/jobs/submit?provider=local", body).json()["warnings"] == [
        "The rule cpus needs 2 approvals, but only 1 can approve. Ask an admin.",
        "The rule local needs 2 approvals, but only 1 can approve. Ask an admin.",
    ]
    assert health.warning().startswith("1 approval request has too few reviewers")


def test_a_dry_run_tells_of_every_rule(
    hold: Callable[[], ApprovalRequest], alice: User, client_of: Callable[[User], APIClient]
) -> None:
    body = {"config": {"max_train_steps": 10}, "hardware_profile": "cpu", "dry_run": True}
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=local", body).json()
    assert (answer["requires_approval"], answer["rule"]) == (True, "cpus")
    assert answer["reason"] == "The hardware CPU is restricted. The provider local is restricted."
    assert answer["rules"] == [
        {
            "name": "cpus",
            "reason": "The hardware CPU is restricted.",
            "approvals_needed": 1,
            "decided_by": "leads and admins",
        },
        {
            "name": "local",
            "reason": "The provider local is restricted.",
            "approvals_needed": 1,
            "decided_by": "members of the group safety",
        },
    ]
    ApprovalRule.objects.update(enabled=False)
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=local", body).json()
    assert (answer["requires_approval"], answer["rule"], answer["reason"], answer["rules"]) == (False, None, None, [])
