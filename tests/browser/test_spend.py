"""The page of what was spent in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from approvals.intake import Outcome
from jobs.models import Organization
from jobs.statuses import JobStatus
from queueing.models import Budget
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, report, start, violations
from tests.factories import make_user
from tests.spending import run, spend

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def two_months(acme: Organization, alice: User) -> None:
    """Jobs of nine people on each of the last 60 days, one that runs, one without a price, and a budget."""
    today = timezone.now().date()
    people = [alice, *(make_user(name, acme) for name in ("ben", "cleo", "dan", "eva", "finn", "gus", "hedy", "ida"))]
    for number in range(60):
        for person in people[: 2 + number * 7 % 8]:
            cost = Decimal(number * 13 % 47 + person.pk % 5) / 4
            spend(
                today - timedelta(days=number),
                f"{cost:.4f}",
                organization=acme,
                submitted_by=person,
                config_name=f"flux-lora-portraits-of-the-{number}-museum",
                hardware_profile=("gpu-h100", "gpu-l40s", "")[number % 3],
                estimated_cost_usd=cost + 1,
            )
    run("120", "31.50", organization=acme, submitted_by=alice, hardware_profile="gpu-h100")
    run(None, organization=acme, submitted_by=alice)
    Budget.objects.create(scope="organization", organization=acme, amount=Decimal(1500))


def test_charts_and_tables_by_keyboard_in_both_schemes_and_on_a_phone(
    browse: Browse, alice: User, two_months: None
) -> None:
    page = is_live(browse(alice, "/spend", reduced_motion="reduce"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"spend-{scheme}")
    page.get_by_text("The days in numbers").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="The chart in numbers").get_by_role("row").nth(1)).to_be_visible()
    page.get_by_role("link", name="By provider").click()
    expect(page).to_have_url("/spend?month=" + f"{timezone.now():%Y-%m}" + "&group=provider")
    page.get_by_role("link", name="Earlier").click()
    page.get_by_label("Month", exact=True).select_option(index=0)
    page.get_by_role("button", name="Show").first.click()
    expect(page.get_by_role("heading", level=2).first).to_have_text(f"{timezone.now():%B %Y}")

    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == [], "on a phone"
    assert not is_wider_than_the_window(page)
    keep(page, "spend-phone-dark")
    page.get_by_role("link", name="ben").click()
    chips = is_live(page).locator(".filter-chip")
    expect(chips.filter(has_text="Person")).to_contain_text("ben")
    expect(chips.filter(has_text="Cost")).to_be_visible()
    assert not is_wider_than_the_window(page)
    page.get_by_role("link", name="Clear filters").click()
    expect(chips).to_have_count(0)


def test_a_bar_leads_to_its_day_and_a_job_that_ends_is_counted_at_once(
    browse: Browse, alice: User, two_months: None, submit: Callable[..., Outcome]
) -> None:
    page = is_live(browse(alice, "/spend"))
    spent = page.locator(".sums .figure").first
    before = spent.inner_text()
    job = start(submit(alice, "one-more").job)
    report(job, JobStatus.COMPLETED, cost_usd=Decimal("7.5"))
    expect(spent).not_to_have_text(before)
    today = timezone.now().date()
    day = page.locator(".plot a").nth(today.day - 1)
    box = day.bounding_box()
    assert box is not None
    day.click(position={"x": box["width"] / 2, "y": box["height"] - 4})  # on the bar
    expect(page.get_by_role("heading", level=2).first).to_have_text(f"{today.day} {today:%B %Y}")
    assert violations(page) == []


def test_nothing_was_spent_yet(browse: Browse, alice: User) -> None:
    page = is_live(browse(alice, "/spend"))
    expect(page.get_by_text("Nothing spent in")).to_be_visible()
    assert violations(page) == []
    keep(page, "spend-empty")
