"""The limit of what a job may cost, on the pages where it is set, shown, raised and approved."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from approvals import decisions
from approvals.intake import Outcome
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs.fuses.watch import check_fuses
from jobs.models import Job, Organization, ProviderConfig
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, start, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

Submit = Callable[..., Outcome]
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "color_scheme": "dark",
}


@pytest.fixture(autouse=True)
def prices(db: None) -> None:
    ProviderConfig.objects.update_or_create(
        name="local", defaults={"cost_per_second": {"cpu": "0.02"}, "seconds_per_step": 12}
    )


@pytest.fixture
def running(alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule) -> Job:
    """A job of alice's that is approved up to $30, has cost $24, and will cost about $41."""
    job = submit(alice, "flux-portraits", fuse_action="ask").job
    request = ApprovalRequest.objects.select_related("job").get()
    assert decisions.approve(request, user=bob, source=Source.API, up_to=Decimal(30))
    job.refresh_from_db()
    start(job)
    now = timezone.now()
    began = {"started_at": now - timedelta(minutes=20), "last_synced_at": now, "progress_told_at": now}
    Job.objects.filter(pk=job.pk).update(cost_usd=Decimal(24), progress=58.5, stage="Training", **began)
    return Job.objects.get()


def judge(page: Page, name: str) -> None:
    """Keep a picture, and judge what a program can judge of it."""
    keep(page, name)
    assert violations(page) == []
    assert not is_wider_than_the_window(page)


def test_a_new_job_with_a_limit(browse: Browse, alice: User) -> None:
    page = is_live(browse(alice, "/jobs/new"))
    page.get_by_label("JSON").first.fill('{"max_train_steps": 100}')
    page.get_by_label("Stop at $").fill("5")
    page.get_by_label("When the limit is reached").select_option("ask")
    expect(page.locator("#forecast-warnings")).to_contain_text("The cost limit is $5.00, but it is estimated")
    judge(page, "new-job-limit")
    page.get_by_label("Stop at $").fill("-3")
    page.get_by_role("button", name="Submit the job").click()
    expect(page.locator("#form-error")).to_contain_text("Enter the limit in US dollars")
    page.get_by_label("Stop at $").fill("12.5")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_selector("#job-card")
    expect(page.get_by_role("region", name="Limit")).to_contain_text("Limited to $12.50.")
    job = Job.objects.get()
    assert (job.max_cost_usd, job.fuse_action) == (Decimal("12.5"), "ask")


def test_a_running_job_shows_its_pace_and_its_submitter_asks_for_more(
    browse: Browse, alice: User, bob: User, running: Job
) -> None:
    page = is_live(browse(alice, f"/jobs/{running.pk}"))
    limit = page.get_by_role("region", name="Limit")
    expect(limit).to_contain_text(re.compile(r"About \$41\.0\d at this pace, approved up to \$30\.00\."))
    expect(limit).to_contain_text("At $30.00 a higher limit is requested; the job is cancelled at $33.00.")
    judge(page, "job-limit")
    judge(browse(alice, f"/jobs/{running.pk}", **PHONE), "job-limit-phone")
    limit.get_by_role("button", name="Change the limit").click()
    expect(page.get_by_label("US dollars")).to_have_value(re.compile(r"51\.2\d"))
    page.get_by_label("US dollars").fill("45.50")
    page.get_by_label("Reason (the reviewers read it)").fill("it converges")
    keep(page, "job-limit-question")
    page.get_by_role("button", name="Set the limit").click()
    expect(page.locator(".toast")).to_contain_text("Approval requested.")

    leads = is_live(browse(bob, "/approvals"))
    expect(leads.locator(".request")).to_contain_text("Requested limit $45.50")
    judge(leads, "approvals-raise")
    judge(browse(bob, "/approvals", **PHONE), "approvals-raise-phone")
    leads.get_by_role("button", name="Approve flux-portraits").click()
    expect(leads.get_by_label("Up to, in US dollars")).to_have_value("45.50")
    keep(leads, "approvals-raise-question")
    leads.get_by_label("Up to, in US dollars").fill("40")
    leads.get_by_role("button", name="Approve", exact=True).last.click()
    expect(leads.locator(".toast")).to_contain_text("may cost that much")
    expect(limit).to_contain_text("approved up to $40.00.")
    assert Job.objects.get().max_cost_usd == 40


def test_at_its_limit_the_page_says_that_more_is_asked_for(browse: Browse, alice: User, running: Job) -> None:
    page = is_live(browse(alice, f"/jobs/{running.pk}"))
    Job.objects.update(cost_usd=Decimal("29.9"), last_synced_at=timezone.now())
    assert check_fuses()["asked"] == 1
    expect(page.get_by_role("region", name="Limit")).to_contain_text("A higher limit is requested")
    judge(page, "job-limit-reached")


def test_an_approval_proposes_an_amount(
    browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    submit(alice, "flux-portraits")
    page = is_live(browse(bob, "/approvals"))
    page.get_by_role("button", name="Approve flux-portraits").click()
    expect(page.get_by_label("Up to, in US dollars")).to_have_value("30.00")
    keep(page, "approvals-up-to")
    page.get_by_role("button", name="Approve", exact=True).last.click()
    expect(page.locator(".decided")).to_contain_text("flux-portraits")
    assert Job.objects.get().max_cost_usd == 30


def test_several_at_once_in_the_admin(
    browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    for steps in (100, 200):
        submit(alice, f"flux-{steps}", config={"max_train_steps": steps})
    page = browse(bob, "/admin/approvals/approvalrequest/")
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option("approve_selected")
    page.get_by_role("button", name="Go").click()
    expect(page.locator("#content")).to_contain_text("Estimated total: $72.00")
    judge(page, "admin-bulk")
    ApprovalRequest.objects.filter(job__config_name="flux-200").update(up_to_usd=Decimal(7))
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".warned").first).to_contain_text("Nothing was decided")
    keep(page, "admin-bulk-news")
    assert not ApprovalRequest.objects.exclude(status="pending").exists()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".messagelist")).to_contain_text("2 approved")
    limits = dict(Job.objects.values_list("config_name", "max_cost_usd"))
    assert limits == {"flux-100": Decimal(30), "flux-200": Decimal(7)}


def test_a_rule_with_a_limit(browse: Browse, root: User, acme: Organization) -> None:
    page = is_live(browse(root, f"/organizations/{acme.name}/settings/rules/new"))
    page.get_by_label("Name", exact=True).fill("big")
    page.get_by_label("Estimated cost above, in US dollars").fill("10")
    page.get_by_label("Stop at, in US dollars").fill("100")
    page.get_by_label("When the limit is reached").select_option("ask")
    judge(page, "rule-limit")
    page.get_by_role("button", name="Create rule").click()
    expect(page.locator("#main")).to_contain_text("Cost limit: $100.00.")
    rule = ApprovalRule.objects.get()
    assert (rule.max_cost_usd, rule.fuse_action, rule.fuse_grace_percent) == (Decimal(100), "ask", None)
