"""The list of jobs by keys: moving, ticking, one act for several, and the palette."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from jobs.models import Job
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, forgive, is_live, keep, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]
MakeJob = Callable[..., Job]


def test_by_keys_alone_one_finds_ticks_and_cancels(browse: Browse, alice: User, make_job: MakeJob) -> None:
    old = [make_job(config_name=f"old-{number}", status=JobStatus.COMPLETED) for number in range(51)]
    for name in ("first", "second", "third"):
        make_job(config_name=name)
    page = is_live(browse(alice))
    keys = page.keyboard.press
    for key in ("j", "x", "j", "ArrowDown", "x", "k"):
        keys(key)
    expect(page.get_by_role("link", name="second")).to_be_focused()
    expect(page.locator("#selection-count")).to_have_text("2 chosen")
    keys("/")
    page.keyboard.type("x?j")
    expect(page.get_by_role("searchbox")).to_have_value("x?j")
    page.get_by_role("searchbox").fill("")

    # They outlive pages, and changes of their rows.
    page.get_by_role("link", name="Older jobs").click()
    expect(page.locator("#selection-count")).to_have_text("2 chosen, 2 not on this page")
    page.go_back()
    expect(page.locator(".job-tick:checked")).to_have_count(2)
    boxes = page.locator(".job-tick")
    boxes.nth(4).click()
    boxes.nth(6).click(modifiers=["Shift"])
    expect(page.locator("#selection-count")).to_have_text("5 chosen")
    assert violations(page) == []

    page.get_by_role("group", name="Chosen jobs").get_by_role("button", name="Cancel").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cancel 2 jobs?")
    expect(dialog).to_contain_text("Not possible for 3:")
    assert violations(page) == []
    keep(page, "jobs-chosen")
    dialog.get_by_role("button", name="Cancel 2 jobs").press("Enter")
    expect(dialog.get_by_role("heading", name="2 jobs cancelled")).to_be_focused()
    keys("Escape")
    expect(page.locator("#selection-count")).to_have_text("3 chosen")
    assert Job.objects.filter(status=JobStatus.CANCELLED).count() == 2

    keys("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys("Escape")
    keys("Control+k")
    page.keyboard.type(old[0].pk)
    expect(page.get_by_role("option")).to_have_count(1)
    assert violations(page) == []
    keep(page, "palette")
    keys("Enter")
    expect(page).to_have_url(re.compile(old[0].pk))
    is_live(page)  # or else the keys of the new page are not there yet
    keys("Control+k")
    page.keyboard.type("acc")
    expect(page.get_by_role("option", selected=True)).to_contain_text("Account")
    keys("Enter")
    expect(page).to_have_url(re.compile("/account$"))


def test_enter_goes_nowhere_while_the_places_cannot_be_fetched(
    browse: Browse, alice: User, complaints: list[str]
) -> None:
    page = is_live(browse(alice))
    page.keyboard.press("Control+k")
    page.keyboard.type("acc")
    expect(page.get_by_role("option", selected=True)).to_contain_text("Account")
    page.route("**/palette?q=spend", lambda route: route.abort())
    page.get_by_role("combobox").fill("spend")
    with page.expect_event("requestfailed"):
        page.keyboard.press("Enter")
    page.unroute("**/palette?q=spend")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/spend$"))
    forgive(page, complaints, "ERR_FAILED")
