"""The page of the metrics in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from approvals.intake import Outcome
from jobs.models import Job, Organization
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, report, start, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


def test_figures_charts_and_their_numbers(
    browse: Browse, alice: User, busy_team: None, make_job: Callable[..., Job], submit: Callable[..., Outcome]
) -> None:
    now = timezone.now()
    for days in range(1, 30):
        created = now - timedelta(days=days)
        ended = created + timedelta(minutes=7 * days % 90 + 50)
        make_job(
            status="failed" if days % 7 == 0 else "completed",
            cost_usd=Decimal(days * 13 % 47) / 3,
            created_at=created,
            started_at=created + timedelta(minutes=days * 5 % 47 + 1),
            submission_marker=f"here-{days}",
            completed_at=ended,
        )
    page = is_live(browse(alice, "/metrics", reduced_motion="reduce"))
    expect(page.locator("canvas")).to_have_count(1)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"metrics-{scheme}")
    page.get_by_role("img", name="Wait by day").hover()
    expect(page.locator(".readout").first).to_contain_text(":")

    # What ends is in the figures at once, and the charts stay.
    jobs = page.locator(".tile", has_text="Jobs").locator(".figure")
    counted = int(jobs.inner_text())
    job = start(submit(alice, "one-more").job)
    expect(jobs).to_have_text(str(counted + 1))
    report(job, JobStatus.COMPLETED)
    expect(page.locator("canvas")).to_have_count(1)

    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("link", name="7 days").click()
    expect(page).to_have_url("/metrics?days=7")
    expect(page.locator("canvas")).to_have_count(1)
    assert violations(page) == [], "on a phone"
    assert not is_wider_than_the_window(page)
    keep(page, "metrics-phone-dark")


def test_a_long_name_of_an_organization_fits_a_phone(browse: Browse, root: User) -> None:
    Organization.objects.create(name="the-institute-for-very-large-models-and-their-many-small-friends")
    page = browse(root, "/metrics", viewport={"width": 360, "height": 740})
    assert not is_wider_than_the_window(page)
