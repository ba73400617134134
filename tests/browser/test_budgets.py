"""The pages of budgets in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from approvals.intake import Outcome
from approvals.models import ApprovalRule
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.costs import ledger
from jobs.models import Job, Organization
from jobs.providers.base import Snapshot
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from queueing.budgets import editing, watch
from queueing.models import Budget
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, sticking_out, violations
from tests.factories import make_job, make_user

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def maria(acme: Organization, alice: User, bob: User) -> User:
    """The admin of acme, whose budget is nearly spent: a job runs, two wait."""
    maria = make_user("maria", acme, Role.ADMIN)
    for person, amount in ((None, 500), (bob, 120)):
        editing.make(acme, person, editing.Terms(Decimal(amount), "month", [50, 80, 100], "finish", ""), by=maria)
    job = make_job(
        status="running", external_id="x-1", started_at=timezone.now(), organization=acme, submitted_by=alice
    )
    lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.RUNNING, cost_usd=Decimal("412.5")), source=Source.POLL)
    ledger.reserve([make_job(organization=acme, submitted_by=bob, estimated_cost_usd=Decimal(60))])
    for name, cost in (("flux-lora-kitchen-with-a-rather-long-name", Decimal(31)), ("unpriced", None)):
        waiting = make_job(config_name=name, organization=acme, submitted_by=alice, estimated_cost_usd=cost)
        claims.enqueue(waiting, role=None, held=False, actor=SYSTEM, source=Source.API)
    watch.watch()
    return maria


def look_at(page: Page, name: str) -> None:
    """Check the page at each width and in both colour schemes."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert violations(page) == [], (name, width, scheme)
            keep(page, f"budgets-{name}-{width}-{scheme}")
        assert not is_wider_than_the_window(page), (name, width)
        assert sticking_out(page) == [], (name, width)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_each_page_is_readable_at_any_width(browse: Browse, maria: User, acme: Organization) -> None:
    budget = Budget.objects.get(user=None)
    addresses = {
        "list": "/budgets",
        "new": "/budgets/new?organization=acme",
        "budget": f"/budgets/{budget.pk}",
        "settings": "/organizations/acme/settings/budgets",
    }
    page = is_live(browse(maria, "/budgets", reduced_motion="reduce"))
    for name, address in addresses.items():
        page.goto(address)
        look_at(page, name)


def test_a_budget_is_lowered_after_a_question_and_removed_by_keyboard(
    browse: Browse, maria: User, complaints: list[str]
) -> None:
    page = is_live(browse(maria, "/budgets"))
    page.get_by_role("link", name="acme", exact=True).click()
    page.get_by_label("Amount, in US dollars").fill("450")
    page.get_by_role("button", name="Save budget").press("Enter")
    expect(page.get_by_text("$472.50 are already committed, more than $450")).to_be_visible()
    look_at(page, "question")
    page.get_by_role("button", name="Save anyway").press("Enter")
    expect(page.get_by_role("status").get_by_text("Budget saved.")).to_be_visible()
    page.get_by_role("button", name="Remove").press("Enter")
    page.get_by_role("button", name="Remove the budget").press("Enter")
    expect(page.get_by_text("The budget of acme was removed")).to_be_visible()
    assert not Budget.objects.filter(user=None).exists()
    forgive(page, complaints, "409")


def test_an_approval_request_says_what_is_left(
    browse: Browse, maria: User, alice: User, hold_everything: ApprovalRule, submit: Callable[..., Outcome]
) -> None:
    for name, cost in (("flux-small", 5), ("flux-dear", 80)):
        Job.objects.filter(pk=submit(alice, name).job.pk).update(estimated_cost_usd=cost)
    page = is_live(browse(maria, "/approvals"))
    expect(page.get_by_text("$27.50 of $500 left; this job needs about $5.")).to_be_visible()
    expect(page.get_by_text("If approved, the job waits.")).to_be_visible()
    look_at(page, "approvals")


def test_the_page_of_a_new_job_says_what_is_left(browse: Browse, maria: User, alice: User) -> None:
    page = is_live(browse(alice, "/jobs/new"))
    page.get_by_label("JSON", exact=True).fill('{"model_family": "flux", "max_train_steps": 10}')
    expect(page.locator("#forecast-budget")).to_contain_text("Budget of acme for")
    look_at(page, "new-job")
    assert Job.objects.exists()
