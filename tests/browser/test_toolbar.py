"""What stands above the list of jobs: choosing in place, and Sync with a Replicate that is there and one that isn't."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Route, expect

from examples.fake_replicate import FakeReplicate
from jobs.models import Job, Organization, ProviderConfig
from jobs.roles import Role
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, row, violations
from tests.factories import make_user
from tests.jobs.conftest import fake, replicate_config  # noqa: F401
from tests.servers import free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]
MakeJob = Callable[..., Job]


def test_choosing_shows_the_list_in_place_and_the_address_keeps_it(
    browse: Browse, alice: User, bob: User, make_job: MakeJob
) -> None:
    cheap = make_job(config_name="cheap", cost_usd=Decimal(1), provider="replicate", status=JobStatus.COMPLETED)
    dear = make_job(config_name="dear", cost_usd=Decimal(9), provider="replicate", status=JobStatus.FAILED)
    local = make_job(config_name="here", submitted_by=bob)
    page = is_live(browse(alice))
    names = page.locator("#job-rows .job-link")
    expect(page.locator("#job-rows tr")).to_have_count(3)
    page.evaluate("window.isTheSamePage = true")

    def choose(label: str, value: str) -> None:
        page.get_by_text("Filter", exact=True).click()
        page.locator("#filter-form").get_by_label(label).select_option(value)
        page.get_by_role("button", name="Show jobs").click()

    choose("Provider", "replicate")
    expect(row(page, local)).to_be_hidden()
    expect(page.locator("#spoken")).to_have_text("2 jobs")
    expect(page.locator("#totals")).to_contain_text("2 jobs · spent $10.00")
    choose("Order", "cost")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Cost")
    expect(names.first).to_have_text("dear")
    page.get_by_role("link", name="Only mine").click()
    page.get_by_role("searchbox").fill("ea")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("search=ea"))
    expect(page.get_by_role("link", name="Search: ea")).to_be_visible()
    expect(page.locator("#job-rows tr")).to_have_count(2)
    keep(page, "jobs-chips")

    # A job that comes to cost more moves to its place.
    Job.objects.filter(pk=cheap.pk).update(cost_usd=Decimal(10))
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    expect(names.first).to_have_text("cheap")
    page.get_by_role("link", name="Failed").click()
    expect(page.locator("#job-rows tr")).to_have_count(1)
    expect(row(page, dear)).to_be_visible()

    page.go_back()
    expect(page.locator("#job-rows tr")).to_have_count(2)
    page.get_by_role("link", name="Search: ea").click()
    expect(page.get_by_role("link", name="Search: ea")).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("ea")
    assert page.evaluate("window.isTheSamePage"), "the page was loaded anew"

    page.get_by_role("link", name="Duration", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Duration")


def test_sync_tells_what_it_found_and_why_it_could_not(
    browse: Browse,
    bob: User,
    acme: Organization,
    replicate_config: ProviderConfig,  # noqa: F811
    fake: FakeReplicate,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    complaints: list[str],
) -> None:
    ProviderConfig.objects.filter(pk="replicate").update(discovery_organization=acme)
    page = is_live(browse(bob))
    sync = page.get_by_role("button", name="Check the providers now")
    toasts = page.locator(".toast")

    def click() -> None:
        sync.click()
        expect(sync).to_be_enabled()

    for count, count_text in ((1, "1 new job"), (3, "3 new jobs"), (0, "No new jobs")):
        fake.fill(count, status="processing") if count else None
        click()
        expect(toasts.last).to_have_text(f"{count_text} at Replicate")
    expect(page.locator("#job-rows tr")).to_have_count(4)
    expect(page.get_by_role("link", name="Running 4")).to_be_visible()

    there = os.environ["REPLICATE_BASE_URL"]
    monkeypatch.setenv("REPLICATE_BASE_URL", f"http://127.0.0.1:{free_port()}")

    def look(route: Route) -> None:
        keep(page, "sync-busy")
        route.continue_()

    page.route("**/jobs/sync", look)
    sync.focus()
    page.keyboard.press("Enter")
    problem = page.locator("#problem-text")
    expect(problem).to_contain_text("Replicate")
    expect(sync).to_be_enabled()
    expect(sync).to_be_focused()
    assert [complaint for complaint in complaints if "502" not in complaint] == []
    complaints.clear()
    keep(page, "sync-problem")

    monkeypatch.setenv("REPLICATE_BASE_URL", there)
    click()
    expect(toasts.last).to_have_text("No new jobs at Replicate")
    expect(problem).to_be_hidden()


def test_sync_tells_that_nobody_of_the_organizations_sees_what_it_found(
    browse: Browse,
    bob: User,
    charlie: User,
    replicate_config: ProviderConfig,  # noqa: F811
    fake: FakeReplicate,  # noqa: F811
) -> None:
    fake.fill(2, status="processing")
    page = is_live(browse(bob))
    page.get_by_role("button", name="Check the providers now").click()
    expect(page.locator(".toast").last).to_have_text("2 new jobs at Replicate")
    expect(page.locator("#problem-text")).to_contain_text("Only superusers see 2 jobs created at Replicate directly")
    expect(page.locator("#job-rows tr")).to_have_count(0)


def test_a_viewer_syncs_and_makes_nothing(browse: Browse, acme: Organization, make_job: MakeJob) -> None:
    make_job(provider="replicate")
    page = is_live(browse(make_user("vera", acme, Role.VIEWER), reduced_motion="reduce"))
    expect(page.get_by_text("Filter", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Check the providers now")).to_be_hidden()
    expect(page.get_by_role("link", name="New job")).to_be_hidden()
    page.set_viewport_size({"width": 360, "height": 740})
    assert not is_wider_than_the_window(page)
    assert violations(page) == []
    keep(page, "toolbar-phone")
