"""Five tasks of a newcomer on a real stack, by mouse and by keyboard alone: what each takes may not become more."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.identifiers import new_job_id
from jobs.models import KeptCurves, Membership, Organization, ProviderConfig
from jobs.roles import Role
from tests.browser.conftest import is_live
from tests.site import QUICK, Site, make_people, running_site
from tests.spending import spend
from tests.web import session_cookies

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

NEWCOMERS = ("alice", "nina")
#: The last loss of each of last month's runs, and what it cost; None: it had no log.
LAST_MONTH = {"flux-high-rate": (0.31, "4.00"), "flux-best": (0.092, "7.50"), "flux-no-log": (None, "1.00")}
LAST_DAY_OF_LAST_MONTH = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).date()


def make_history() -> None:
    """Make the people and the jobs of two months: for a process of the site."""
    make_people()
    team = Organization.objects.get(name="acme")
    Membership.objects.create(user=User.objects.create_user("nina"), organization=team, role=Role.RESEARCHER)
    cookies = {name: session_cookies(User.objects.get(username=name)) for name in NEWCOMERS}
    (Path(os.environ["TMPDIR"]) / "cookies.json").write_text(json.dumps(cookies))
    ProviderConfig.objects.filter(name="local").update(cost_per_second={"cpu": 0}, seconds_per_step=0.1)
    runs = [(name, LAST_DAY_OF_LAST_MONTH - timedelta(days=5), *facts) for name, facts in LAST_MONTH.items()]
    runs.append(("flux-of-this-month", LAST_DAY_OF_LAST_MONTH + timedelta(days=1), 0.05, "90.00"))
    bob = User.objects.get(username="bob")
    for name, day, loss, cost in runs:
        job = spend(
            day,
            cost,
            id=new_job_id(datetime.combine(day, time(9), UTC)),
            organization=team,
            submitted_by=bob,
            config_name=name,
            config={**QUICK, "learning_rate": 1e-4},
        )
        if loss is not None:
            KeptCurves.objects.create(job=job, requested_at=job.created_at, last_loss=loss)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), prepare=make_history) as site:
        yield site


@dataclass
class Hand:
    """Somebody at the page of a task, who counts clicks and keys."""

    page: Page
    clicks: int = 0
    keys: int = 0

    def click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1

    def choose(self, target: Locator, label: str) -> None:
        """Open a list of choices, and take one."""
        target.select_option(label=label)
        self.clicks += 2

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.keys += 1

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)
        self.keys += len(text)

    def go_to(self, text: str, *more: str) -> None:
        """By Ctrl+K, without a look at what the palette has found by then."""
        self.press("Control+k")
        self.type(text)
        self.press(*more, "Enter")


@pytest.fixture
def task(chromium: Browser, site: Site) -> Iterator[Callable[[str], Hand]]:
    """Begin a task at the list of jobs, as one of the newcomers."""
    contexts = []

    def begin(name: str) -> Hand:
        url = f"http://127.0.0.1:{site.port}"
        cookies = json.loads((site.folder / "cookies.json").read_text())[name]
        context = chromium.new_context(
            base_url=url, viewport={"width": 1280, "height": 900}, timezone_id="Europe/Berlin"
        )
        contexts.append(context)
        context.add_cookies([{"name": key, "value": value, "url": url} for key, value in cookies.items()])
        page = context.new_page()
        page.goto("/")
        return Hand(is_live(page))

    yield begin
    for context in contexts:
        context.close()


def submitted(page: Page) -> str:
    """The id of the job to whose page the submission has led."""
    page.wait_for_url(re.compile("/jobs/[0-9a-z]{26}$"))
    return page.url.rsplit("/", 1)[1]


def row_of(page: Page, job_id: str) -> Locator:
    return page.locator(f"#job-{job_id}")


def approve(site: Site, job_id: str) -> None:
    [request] = [one for one in site.get("bob", "/api/approvals")["approvals"] if one["job_id"] == job_id]
    site.post("bob", f"/api/approvals/{request['id']}/approve")


def test_by_mouse(site: Site, task: Callable[[str], Hand]) -> None:
    first = task("alice")
    page = first.page
    first.click(page.get_by_role("link", name="New job").first)
    first.choose(page.get_by_label("Start from"), "A first job: 40 steps")
    first.click(page.get_by_role("button", name="Submit the job"))
    first_job = submitted(page)
    assert first.clicks <= 4

    why = task("alice")
    expect(row_of(why.page, first_job)).to_contain_text("Needs approval: This is the first job of alice")
    approve(site, first_job)

    best = task("alice")
    page = best.page
    best.click(page.get_by_text("Filter", exact=True))
    best.choose(page.get_by_label("Created"), "Last month")
    best.choose(page.get_by_label("Order"), "Lowest last loss first")
    best.click(page.get_by_role("button", name="Show jobs"))
    expect(page.locator("#job-rows .job-link").first).to_have_text("flux-best")
    assert best.clicks <= 6

    again = task("alice")
    page = again.page
    page.goto(best.page.url)
    is_live(page)
    again.click(page.get_by_role("link", name="flux-best"))
    again.click(page.get_by_role("link", name="Run again with changes"))
    rate = page.locator("#config .cm-line", has_text="learning_rate").locator("span", has_text="0.0001").last
    box = rate.bounding_box()
    assert box is not None
    rate.dblclick(position={"x": box["width"] - 6, "y": box["height"] / 2})
    again.clicks += 2
    again.type("0005")
    expect(page.locator("#run-changes li")).to_have_text(["learning_rate 1e-4 → 5e-4"])
    again.click(page.get_by_role("button", name="Submit the job"))
    second_job = submitted(page)
    expect(page.get_by_text("learning_rate 1e-4 → 5e-4").first).to_be_visible()
    assert (again.clicks, again.keys) <= (5, 4)

    spent = task("alice")
    page = spent.page
    spent.click(page.get_by_role("link", name="Spend"))
    spent.click(page.get_by_role("link", name="Earlier"))
    expect(page.get_by_role("heading", name=f"{LAST_DAY_OF_LAST_MONTH:%B %Y}")).to_be_visible()
    expect(page.get_by_text("$12.50").first).to_be_visible()
    assert spent.clicks <= 2

    assert site.until(first_job, "completed")["config_name"] == "first-job"
    site.until(second_job, "completed")


def test_by_keyboard_alone(site: Site, task: Callable[[str], Hand]) -> None:
    first = task("nina")
    page = first.page
    first.go_to("new")
    expect(page.get_by_label("Provider")).to_have_value("local")  # its script is at work
    first.press("Tab", "Enter", "Tab")
    expect(page.get_by_label("Start from")).to_be_focused()
    first.press("ArrowDown")
    expect(page.get_by_role("button", name="Submit the job")).to_be_enabled()
    first.press("Control+Enter")
    first_job = submitted(page)
    assert first.keys <= 10

    why = task("nina")
    expect(row_of(why.page, first_job)).to_contain_text("Needs approval: This is the first job of nina")
    approve(site, first_job)

    best = task("nina")
    page = best.page
    best.go_to("best", "ArrowDown")
    expect(page.locator("#job-rows .job-link").first).to_have_text("flux-best")
    assert best.keys <= 7

    again = task("nina")
    page = again.page
    page.goto(best.page.url)
    is_live(page)
    again.press("j", "Enter")
    expect(page.get_by_role("link", name="Run again with changes")).to_be_visible()
    again.press("Tab", "Enter", "Tab", "Tab")
    expect(page.get_by_role("link", name="Run again with changes")).to_be_focused()
    again.press("Enter")
    expect(page.get_by_label("Provider")).to_have_value("local")
    again.press("Tab", "Enter", "Tab", "Tab", "Tab", "Tab")
    expect(page.locator("#config .cm-content")).to_be_focused()
    again.press("Control+f")
    again.type("0.0001")
    again.press("Enter", "Escape")
    again.type("5e-4")
    expect(page.locator("#run-changes li")).to_have_text(["learning_rate 1e-4 → 5e-4"])
    again.press("Control+Enter")
    second_job = submitted(page)
    expect(page.get_by_text("learning_rate 1e-4 → 5e-4").first).to_be_visible()
    assert again.keys <= 27

    spent = task("nina")
    page = spent.page
    spent.go_to("sp")
    expect(page.get_by_role("heading", name="Spend", exact=True)).to_be_visible()
    spent.press("Tab", "Enter", "Tab", "Tab", "Tab", "Tab", "ArrowDown", "Tab", "Enter")
    expect(page.get_by_text("$12.50").first).to_be_visible()
    assert spent.keys <= 13

    for job_id in (first_job, second_job):
        site.until(job_id, "completed")
