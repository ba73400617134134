"""The review queue, its filters and counts; and that nobody sees what is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from approvals import decisions
from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs.models import Job, JobEvent, Membership, Organization
from jobs.roles import Role
from tests.approvals.admin.pages import LIST, RULES, BrowserOf, page
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeRequest = Callable[..., SubmissionRequest]


def held_by(submission_request: MakeRequest, **fields: object) -> ApprovalRequest:
    approval = submit(submission_request(**fields)).approval
    assert approval is not None
    return approval


def test_pending_comes_first_and_the_most_urgent_on_top(
    submission_request: MakeRequest, bob: User, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    decided, _, urgent = (held_by(submission_request, config_name=name) for name in ("decided", "later", "urgent"))
    decisions.reject(decided, user=bob, source=Source.API, notes="no")
    ApprovalRequest.objects.filter(pk=urgent.pk).update(expires_at=timezone.now() + timedelta(minutes=20))
    shown = page(browser_of(bob), LIST)
    places = [shown.index(f">{name}</bdi> #") for name in ("urgent", "later", "decided")]
    assert places == sorted(places)


def test_the_front_page_and_the_header_count_what_is_pending(
    request_: ApprovalRequest, bob: User, charlie: User, browser_of: BrowserOf
) -> None:
    front = page(browser_of(bob), "/admin/")
    assert "1 approval request waits for a decision" in front
    assert "to decide" in page(browser_of(bob), "/admin/jobs/job/")
    assert "to decide" not in page(browser_of(charlie), "/admin/")


def test_the_page_shows_all_that_a_decision_needs(
    request_: ApprovalRequest,
    submission_request: MakeRequest,
    bob: User,
    make_job: Callable[..., Job],
    browser_of: BrowserOf,
) -> None:
    decisions.approve(request_, user=bob, source=Source.API, notes="careful with the rate")
    make_job(status="failed", config_name="the-one-before", cost_usd="2.50")
    make_job(status="failed", config_name="the-unpriced-one", cost_doubt="there is no price for cpu.")
    newer = held_by(submission_request, config={"max_train_steps": 5000, "learning_rate": 1e-4})
    shown = page(browser_of(bob), f"{LIST}{newer.pk}/change/")
    assert f"Approval requests</a> › {newer.job} by alice" in shown.replace("&rsaquo;", "›")
    for text in (
        "max_train_steps: <del>10</del> → <ins>5000</ins>",
        "the-one-before: Failed, $2.50",
        "the-unpriced-one: Failed, cost not known",
        "5000 steps of about 1 s (by the operator&#x27;s figure); no price is set for CPU at This machine.",
        "Holds jobs of a user until one has been submitted to a provider. Needs 1 approval by leads and admins.",
        "No decisions yet",
    ):
        assert text in shown


def test_the_page_shows_what_the_others_said(
    submission_request: MakeRequest, bob: User, acme: Organization, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    ApprovalRule.objects.update(approvals_needed=2)
    request = held_by(submission_request)
    decisions.approve(request, user=bob, source=Source.API, notes="<b>fine</b>")
    shown = page(browser_of(make_user("carol", acme, Role.LEAD)), f"{LIST}{request.pk}/change/")
    assert "<strong>bob</strong> approves: &lt;b&gt;fine&lt;/b&gt;" in shown


def test_an_action_tells_what_became_of_each(
    submission_request: MakeRequest, bob: User, acme: Organization, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    carol = make_user("carol", acme, Role.LEAD)
    requests = [held_by(submission_request) for _ in range(4)]
    decisions.reject(requests[3], user=carol, source=Source.API, notes="no")
    chosen = {"action": "approve_selected", "_selected_action": [item.pk for item in requests]}
    page = browser_of(bob).post(LIST, {**chosen, "decision": "approve", "reason": ""}, follow=True).content.decode()
    assert "3 approved, 1 already decided by carol." in page


def test_an_action_on_more_than_a_hundred_decides_nothing(
    request_: ApprovalRequest, bob: User, browser_of: BrowserOf
) -> None:
    for number in range(100):
        job = Job.objects.create(provider="local", organization=request_.organization, config_name=f"j{number}")
        ApprovalRequest.objects.create(
            job=job, organization=request_.organization, rule_name="r", expires_at=request_.expires_at
        )
    chosen = {"action": "reject_selected", "_selected_action": [request_.pk], "select_across": "1"}
    page = browser_of(bob).post(LIST, {**chosen, "decision": "reject", "reason": "x"}, follow=True).content.decode()
    assert "At most 100 requests at once" in page
    assert ApprovalRequest.objects.filter(status="pending").count() == 101


@pytest.mark.parametrize(
    ("query", "found"),
    [("rule=first_job", True), ("rule=other", False), ("age=hour", True), ("age=older", False), ("q=flux", True),
     ("q=nothing", False), ("status__exact=rejected", False)],
)  # fmt: skip
def test_the_filters_find(held: Outcome, bob: User, browser_of: BrowserOf, query: str, found: bool) -> None:
    assert (">flux</bdi> #1</a>" in page(browser_of(bob), f"{LIST}?{query}")) is found


def test_the_filters_name_nothing_of_others(
    submission_request: MakeRequest, bob: User, charlie: User, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    held_by(submission_request)
    organization = Organization.objects.get(name="other")
    ApprovalRule.objects.create(name="their-rule", organization=organization, priority=1)
    foreign = held_by(submission_request, user=charlie, config_name="their-config")
    shown = page(browser_of(bob), LIST)
    assert "their-rule" not in shown
    assert "their-config" not in shown
    assert ">other<" not in shown
    assert "their-config" not in page(browser_of(bob), f"{LIST}?organization={organization.pk}")
    assert "their-config" not in page(browser_of(bob), f"{LIST}{foreign.pk}/change/")
    assert "charlie" in page(browser_of(charlie), LIST)


def test_a_superuser_is_told_that_they_go_past_the_reviewers(
    request_: ApprovalRequest, root: User, browser_of: BrowserOf
) -> None:
    root_browser = browser_of(root)
    shown = page(root_browser, f"{LIST}{request_.pk}/change/")
    assert "can decide anyway" in shown and "The requester reads the reason. Required." in shown
    root_browser.post(f"{LIST}{request_.pk}/decide", {"decision": "approve", "reason": ""})
    assert ApprovalRequest.objects.get().status == "pending"
    root_browser.post(f"{LIST}{request_.pk}/decide", {"decision": "approve", "reason": "the demo"})
    assert ApprovalRequest.objects.get().bypassed
    assert JobEvent.objects.get(new="approved").source == Source.ADMIN


def test_a_superuser_who_is_a_reviewer_need_not_wait_for_the_others(
    submission_request: MakeRequest, root: User, acme: Organization, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    ApprovalRule.objects.update(approvals_needed=2)
    Membership.objects.create(user=root, organization=acme, role=Role.LEAD)
    request, browser = held_by(submission_request), browser_of(root)
    assert "Decide without the other reviewers" in page(browser, f"{LIST}{request.pk}/change/")
    decision = {"decision": "approve", "bypass": "on", "reason": ""}
    shown = browser.post(f"{LIST}{request.pk}/decide", decision, follow=True).content.decode()
    assert "not waiting for the other reviewers" in shown
    browser.post(f"{LIST}{request.pk}/decide", {**decision, "reason": "the demo is today"})
    decided = ApprovalRequest.objects.get()
    assert (decided.status, decided.bypassed, decided.decisions.get().bypass) == ("approved", True, True)


def test_a_superuser_goes_past_the_others_for_many_at_once(
    submission_request: MakeRequest, root: User, acme: Organization, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    ApprovalRule.objects.update(approvals_needed=2)
    Membership.objects.create(user=root, organization=acme, role=Role.LEAD)
    requests, browser = [held_by(submission_request) for _ in range(2)], browser_of(root)
    chosen = {"action": "approve_selected", "_selected_action": [item.pk for item in requests]}
    assert "Decide without the other reviewers" in browser.post(LIST, chosen).content.decode()
    browser.post(LIST, {**chosen, "decision": "approve", "bypass": "on", "reason": "the demo is today"})
    assert ApprovalRequest.objects.filter(status="approved", bypassed=True).count() == 2


def test_nobody_else_is_offered_to_go_past_or_goes(
    submission_request: MakeRequest, bob: User, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    ApprovalRule.objects.update(approvals_needed=2)
    request, browser = held_by(submission_request), browser_of(bob)
    assert "without the other reviewers" not in page(browser, f"{LIST}{request.pk}/change/")
    browser.post(f"{LIST}{request.pk}/decide", {"decision": "approve", "bypass": "on", "reason": "me"})
    assert ApprovalRequest.objects.get().status == "pending"


def test_the_front_page_tells_a_superuser_what_nobody_can_decide(
    request_: ApprovalRequest, root: User, browser_of: BrowserOf
) -> None:
    assert "1 approval request has too few reviewers" in page(browser_of(root), "/admin/")


@pytest.mark.parametrize("address", ["/admin/auth/user/", "/admin/jobs/organization/"])
@pytest.mark.parametrize("of", ["request", "job"])
def test_a_lead_gets_no_link_to_a_page_that_they_may_not_see(
    request_: ApprovalRequest, bob: User, root: User, browser_of: BrowserOf, address: str, of: str
) -> None:
    path = f"{LIST}{request_.pk}/change/" if of == "request" else f"/admin/jobs/job/{request_.job_id}/change/"
    shown = page(browser_of(bob), path)
    assert (address in shown, "alice" in shown, "acme" in shown) == (False, True, True)
    assert address in page(browser_of(root), path)


def test_who_leads_two_organizations_reads_which_and_chooses_one(
    submission_request: MakeRequest, bob: User, charlie: User, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    held_by(submission_request, config_name="acmes")
    held_by(submission_request, user=charlie, config_name="others")
    browser = browser_of(bob)
    assert "column-organization" not in page(browser, LIST)
    other = Organization.objects.get(name="other")
    Membership.objects.create(user=bob, organization=other, role=Role.LEAD)
    assert "column-organization" in page(browser, LIST)
    shown = page(browser, f"{LIST}?organization={other.pk}")
    assert (">others</bdi> #1</a>" in shown, ">acmes</bdi> #1</a>" in shown) == (True, False)


def test_the_list_takes_few_queries_however_many_there_are(
    submission_request: MakeRequest,
    bob: User,
    first_job_rule: ApprovalRule,
    browser_of: BrowserOf,
    django_assert_max_num_queries: Any,
) -> None:
    for _ in range(20):
        held_by(submission_request)
    browser = browser_of(bob)
    page(browser, "/admin/")  # the first request of a session stores where it is
    with django_assert_max_num_queries(20):
        assert "20 approval requests" in page(browser, LIST)


WALK = [
    *(f"{LIST}{path}" for path in ("", "{}/change/", "{}/history/", "{}/delete/", "add/", "{}/decide", "?q=flux")),
    *(f"{RULES}{path}" for path in ("", "add/", "try", "1/change/", "1/history/", "1/delete/")),
    "/admin/autocomplete/?app_label=approvals&model_name=approvalrequest&field_name=request&term=flux",
    *("/api/approvals", "/api/approvals/{}", "/api/approvals/rules", "/api/approvals/rules/1"),
]


@pytest.mark.parametrize("path", WALK)
@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_neither_a_stranger_nor_nobody_finds_anything(
    request_: ApprovalRequest, charlie: User, browser_of: BrowserOf, path: str, who: str
) -> None:
    client = Client() if who == "nobody" else browser_of(charlie)
    response = client.get(path.format(request_.pk), follow=True)
    shown = response.content.decode()
    assert "alice" not in shown
    assert request_.job_id not in shown
    assert response.status_code in (200, 400, 401, 403, 404)
