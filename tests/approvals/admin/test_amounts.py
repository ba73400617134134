"""What a job may cost, in the admin: approved with one request, and with several at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from jobs.models import Job
from tests.approvals.admin.pages import LIST, RULE, RULES, BrowserOf, page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeRequest = Callable[..., SubmissionRequest]


@pytest.fixture
def requests(submission_request: MakeRequest, first_job_rule: ApprovalRule) -> list[ApprovalRequest]:
    """Requests about two jobs, which cost about $24 and nobody knows what."""
    found = []
    for name, cost in (("flux", Decimal(24)), ("sana", None)):
        job = submit(submission_request(config_name=name)).job
        Job.objects.filter(pk=job.pk).update(estimated_cost_usd=cost, estimated_cost_low_usd=cost)
        found.append(ApprovalRequest.objects.select_related("job").get(job=job))
    return found


def select(client: Client, requests: list[ApprovalRequest], **more: Any) -> str:
    body = {"action": "approve_selected", "_selected_action": [str(one.pk) for one in requests], **more}
    return client.post(LIST, body, follow=True).content.decode()


def stamps(shown: str, requests: list[ApprovalRequest]) -> dict[str, str]:
    """The stamps that the page was shown with."""
    found = {}
    for one in requests:
        name = f"request-{one.pk}-seen"
        found[name] = shown.split(f'name="{name}" value="')[1].split('"')[0]
    return found


def test_one_request_is_approved_up_to_an_amount(
    requests: list[ApprovalRequest], bob: User, browser_of: BrowserOf
) -> None:
    first = requests[0]
    shown = page(browser_of(bob), f"{LIST}{first.pk}/change/")
    assert 'name="up_to_usd" value="30.00"' in shown
    for bad in ("-1", "NaN", "0", "1e12", "much"):
        body = {"decision": "approve", "reason": "", "up_to_usd": bad}
        browser_of(bob).post(f"{LIST}{first.pk}/decide", body)
        first.refresh_from_db()
        assert (first.status, first.up_to_usd) == ("pending", None)
    browser_of(bob).post(f"{LIST}{first.pk}/decide", {"decision": "approve", "reason": "", "up_to_usd": "28.5"})
    first.job.refresh_from_db()
    assert first.job.max_cost_usd == Decimal("28.5")


def test_the_sum_and_each_cost_are_shown(requests: list[ApprovalRequest], bob: User, browser_of: BrowserOf) -> None:
    shown = " ".join(select(browser_of(bob), requests).split())
    assert "Estimated total: <strong>$24.00</strong>. The cost of 1 request is not known." in shown
    assert "about $24.00; may cost any amount" in shown
    assert "cost not known; may cost any amount" in shown
    assert "Estimated total" not in select(browser_of(bob), requests[1:])


def test_each_is_approved_up_to_its_own_amount(
    requests: list[ApprovalRequest], bob: User, browser_of: BrowserOf
) -> None:
    first, second = requests
    seen = stamps(select(browser_of(bob), requests), requests)
    amounts = {f"request-{first.pk}-amount": "30", f"request-{second.pk}-amount": ""}
    select(browser_of(bob), requests, decision="approve", reason="", **seen, **amounts)
    limits = dict(Job.objects.values_list("config_name", "max_cost_usd"))
    assert limits == {"flux": Decimal(30), "sana": None}
    assert set(ApprovalRequest.objects.values_list("status", flat=True)) == {"approved"}


def test_a_bad_amount_decides_nothing(requests: list[ApprovalRequest], bob: User, browser_of: BrowserOf) -> None:
    seen = stamps(select(browser_of(bob), requests), requests)
    bad = {f"request-{requests[0].pk}-amount": "-3"}
    shown = select(browser_of(bob), requests, decision="approve", reason="", **seen, **bad)
    assert "greater than or equal to 0.01" in shown
    assert set(ApprovalRequest.objects.values_list("status", flat=True)) == {"pending"}


def test_what_has_changed_since_is_shown_before_anything_is_decided(
    requests: list[ApprovalRequest], bob: User, browser_of: BrowserOf
) -> None:
    first, second = requests
    seen = stamps(select(browser_of(bob), requests), requests)
    Job.objects.filter(pk=first.job_id).update(max_cost_usd=Decimal(500))
    browser_of(bob).post(f"{LIST}{second.pk}/decide", {"decision": "approve", "reason": ""})
    shown = select(browser_of(bob), requests, decision="approve", reason="", **seen)
    assert "Nothing was decided. The marked requests have changed" in " ".join(shown.split())
    assert "Already approved by bob." in shown
    first.refresh_from_db()
    assert first.status == "pending"
    select(browser_of(bob), requests, decision="approve", reason="", **stamps(shown, requests))
    first.refresh_from_db()
    assert first.status == "approved"


def test_a_rules_limit_is_checked_and_shown(root: User, browser_of: BrowserOf) -> None:
    limit = {"fuse_action": "ask", "fuse_grace_percent": "20"}
    for bad in ("-1", "NaN", "0", "1e12"):
        assert browser_of(root).post(f"{RULES}add/", {**RULE, **limit, "max_cost_usd": bad}).status_code == 200
    assert browser_of(root).post(f"{RULES}add/", {**RULE, "fuse_grace_percent": "101"}).status_code == 200
    assert not ApprovalRule.objects.filter(name="night").exists()
    assert browser_of(root).post(f"{RULES}add/", {**RULE, **limit, "max_cost_usd": "100"}).status_code == 302
    rule = ApprovalRule.objects.get(name="night")
    assert (rule.max_cost_usd, rule.fuse_action, rule.fuse_grace_percent) == (Decimal(100), "ask", 20)
