"""A newcomer's five tasks on a real stack, by mouse and by keyboard alone, each with so many clicks or keys at most."""

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
#: The last loss of each of last month's runs, and what the run cost. A loss of None means that it had no log.
LAST_MONTH = {"flux-high-rate": (0.31, "4.00"), "flux-best": (0.092, "7.50"), "flux-no-log": (None, "1.00")}
#: How a page names what the second run changes.
CHANGE = "learning_rate 1e-4 → 5e-4"
#: By UTC, as an organization's money is counted that names no zone. Jobs are listed by the reader's, which is UTC too.
LAST_DAY_OF_LAST_MONTH = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).date()


def make_history() -> None:
    """Make the people and the jobs of two months. A process of the site calls it."""
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
    """Somebody at the page of a task, whose clicks and keys are counted."""

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
        """Choose a place in the palette (Ctrl+K), without a look at what it has found so far."""
        self.press("Control+k")
        self.type(text)
        self.press(*more, "Enter")


class Mouse(Hand):
    def submit_an_example(self) -> None:
        self.click(self.page.get_by_role("link", name="New job").first)
        self.choose(self.page.get_by_label("Start from"), "A first job: 40 steps")
        self.click(self.page.get_by_role("button", name="Submit the job"))
        assert self.clicks <= 4

    def list_the_best_of_last_month(self) -> None:
        self.click(self.page.get_by_text("Filter", exact=True))
        self.choose(self.page.get_by_label("Created"), "Last month")
        self.choose(self.page.get_by_label("Order"), "Lowest last loss first")
        self.click(self.page.get_by_role("button", name="Show jobs"))
        assert self.clicks <= 6

    def run_again_at_five_times_the_rate(self) -> None:
        self.click(self.page.get_by_role("link", name="flux-best"))
        self.click(self.page.get_by_role("link", name="Run again with changes"))
        line = self.page.locator("#config .cm-line", has_text="learning_rate")
        rate = line.locator("span", has_text="0.0001").last
        box = rate.bounding_box()
        assert box is not None
        rate.dblclick(position={"x": box["width"] - 6, "y": box["height"] / 2})
        self.clicks += 2
        self.type("0005")
        expect(self.page.locator("#run-changes li")).to_have_text([CHANGE])
        self.click(self.page.get_by_role("button", name="Submit the job"))
        assert self.clicks <= 5 and self.keys <= 4

    def show_the_spending_of_last_month(self) -> None:
        self.click(self.page.get_by_role("link", name="Spend"))
        self.click(self.page.get_by_role("link", name="Earlier"))
        assert self.clicks <= 2


class Keyboard(Hand):
    def skip_to_content(self) -> None:
        """Follow the first link of a page. A busy browser is there later than the next key."""
        self.press("Tab", "Enter")
        expect(self.page.locator("#main")).to_be_focused()

    def submit_an_example(self) -> None:
        self.go_to("new")
        expect(self.page.get_by_label("Provider")).to_have_value("local")  # its script is at work
        self.skip_to_content()
        self.press("Tab")
        expect(self.page.get_by_label("Start from")).to_be_focused()
        self.press("ArrowDown")
        expect(self.page.get_by_role("button", name="Submit the job")).to_be_enabled()
        self.press("Control+Enter")
        assert self.keys <= 10

    def list_the_best_of_last_month(self) -> None:
        self.go_to("best", "ArrowDown")
        assert self.keys <= 7

    def run_again_at_five_times_the_rate(self) -> None:
        self.press("j", "Enter")
        again = self.page.get_by_role("link", name="Run again with changes")
        expect(again).to_be_visible()
        self.skip_to_content()
        self.press("Tab", "Tab")
        expect(again).to_be_focused()
        self.press("Enter")
        expect(self.page.get_by_label("Provider")).to_have_value("local")
        self.skip_to_content()
        self.press("Tab", "Tab", "Tab", "Tab")
        expect(self.page.locator("#config .cm-content")).to_be_focused()
        self.press("Control+f")
        self.type("0.0001")
        self.press("Enter", "Escape")
        self.type("5e-4")
        expect(self.page.locator("#run-changes li")).to_have_text([CHANGE])
        self.press("Control+Enter")
        assert self.keys <= 27

    def show_the_spending_of_last_month(self) -> None:
        self.go_to("sp")
        expect(self.page.get_by_role("heading", name="Spend", exact=True)).to_be_visible()
        self.skip_to_content()
        self.press("Tab", "Tab", "Tab", "Tab", "ArrowDown", "Tab", "Enter")
        assert self.keys <= 13


@pytest.fixture
def open_page(chromium: Browser, site: Site) -> Iterator[Callable[[str, str], Page]]:
    """Open an address as one of the newcomers, in a browser that knows nothing of earlier tasks."""
    contexts = []

    def open_as(name: str, address: str) -> Page:
        url = f"http://127.0.0.1:{site.port}"
        cookies = json.loads((site.folder / "cookies.json").read_text())[name]
        context = chromium.new_context(base_url=url, viewport={"width": 1280, "height": 900}, timezone_id="UTC")
        contexts.append(context)
        context.add_cookies([{"name": key, "value": value, "url": url} for key, value in cookies.items()])
        page = context.new_page()
        page.goto(address)
        return is_live(page)

    yield open_as
    for context in contexts:
        context.close()


def submitted(page: Page) -> str:
    """The id of the job to whose page the submission has led."""
    page.wait_for_url(re.compile("/jobs/[0-9a-z]{26}$"))
    return page.url.rsplit("/", 1)[1]


def approve(site: Site, job_id: str) -> None:
    [request] = [one for one in site.get("bob", "/api/approvals")["approvals"] if one["job_id"] == job_id]
    site.post("bob", f"/api/approvals/{request['id']}/approve")


@pytest.mark.parametrize(("name", "hand"), [("alice", Mouse), ("nina", Keyboard)])
def test_five_tasks(
    name: str, hand: type[Mouse] | type[Keyboard], site: Site, open_page: Callable[[str, str], Page]
) -> None:
    page = open_page(name, "/")
    hand(page).submit_an_example()
    first_job = submitted(page)

    page = open_page(name, "/")
    expect(page.locator(f"#job-{first_job}")).to_contain_text(f"Needs approval: This is the first job of {name}")
    approve(site, first_job)

    page = open_page(name, "/")
    hand(page).list_the_best_of_last_month()
    expect(page.locator("#job-rows .job-link").first).to_have_text("flux-best")

    page = open_page(name, page.url)
    hand(page).run_again_at_five_times_the_rate()
    second_job = submitted(page)
    expect(page.get_by_text(CHANGE).first).to_be_visible()

    page = open_page(name, "/")
    hand(page).show_the_spending_of_last_month()
    expect(page.get_by_role("heading", name=f"{LAST_DAY_OF_LAST_MONTH:%B %Y}")).to_be_visible()
    expect(page.get_by_text("$12.50").first).to_be_visible()

    assert site.until(first_job, "completed")["config_name"] == "first-job"
    site.until(second_job, "completed")
