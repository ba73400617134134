"""What is live about every page: one event stream a browser, kept open and caught up."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections
from django.templatetags.static import static
from playwright.sync_api import Page, Route, expect

from approvals.intake import Outcome
from cloudtrain_site.events.publish import EVERYONE, Event, publish, rights_changed
from cloudtrain_site.events.relay import open_streams
from cloudtrain_site.events.store import current_number
from jobs.models import Job
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, act, change_silently, forgive, is_live, open_own_menu, row, start
from tests.limits import SetLimits
from tests.web import running_server, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

Submit = Callable[..., Outcome]
#: Whoever changes rows while this is intercepted has a database connection of that moment, to be closed.
STREAM = "**/api/events**"

#: Under the name that pages use: another name is another module, with a stream of its own.
PAGE_SCRIPT = "cloudtrain/shell/page.js"
COLLECT = """async (script) => {
  window.received = [];
  const { onEvent } = await import(script);
  onEvent({ event: ({ id }) => window.received.push(id) });
}"""
#: A tab that holds the lead and says only what a test has it say.
HANG = """(reader) => {
  const name = `cloudtrain-stream-${reader}`;
  window.channel = new BroadcastChannel(name);
  window.messages = [];
  window.channel.onmessage = ({ data }) => window.messages.push(data);
  return new Promise((led) => navigator.locks.request(name, () => new Promise(() => led())));
}"""


def listening(page: Page) -> Page:
    """Return when the page is live, and keep the numbers of all that it receives from then on."""
    is_live(page).evaluate(COLLECT, static(PAGE_SCRIPT))
    return page


def tab_beside(page: Page, address: str = "/") -> Page:
    """One more tab of the same browser."""
    tab = page.context.new_page()
    tab.set_default_timeout(10_000)
    tab.goto(address)
    return tab


def hanging_leader(browse: Browse, reader: User) -> Page:
    """A tab of the reader's that took the lead and does nothing with it."""
    page = browse(reader, "about:blank")
    page.route("**/hangs", lambda route: route.fulfill(content_type="text/html", body="<link rel=icon href=data:,>"))
    page.goto("/hangs")
    page.evaluate(HANG, reader.pk)
    return page


def publish_to_all() -> int:
    """News for everybody; returns their number."""
    publish(Event("queue_changed", EVERYONE, {"queue_depth": 1, "running": 0}))
    return current_number()


def assert_received(page: Page, numbers: list[int]) -> None:
    """Return when the page has received the last of `numbers`; fail unless it received each once, in order."""
    page.wait_for_function("(last) => window.received.includes(last)", arg=numbers[-1])
    assert page.evaluate("window.received") == numbers


class TestTabs:
    def test_share_one_stream_that_outlives_its_leader(self, browse: Browse, alice: User) -> None:
        first = listening(browse(alice))
        second, third = listening(tab_beside(first)), listening(tab_beside(first))
        assert open_streams() == 1
        numbers = [publish_to_all(), publish_to_all()]
        for tab in (first, second, third):
            assert_received(tab, numbers)

        first.close()
        numbers += [publish_to_all(), publish_to_all()]
        assert_received(second, numbers)
        assert_received(third, numbers)
        wait_until(lambda: open_streams() == 1)

    # Of a stream that is cut while it is open, Django leaves the file of the request's body to the collector.
    @pytest.mark.filterwarnings("ignore:Unclosed file <tempfile:ResourceWarning")
    def test_catch_up_after_the_server_was_gone_for_ten_seconds(
        self, browse: Browse, alice: User, submit: Submit, complaints: list[str]
    ) -> None:
        job = submit(alice).job
        with running_server() as address:
            first = browse(alice, "about:blank", base_url=address)
            first.clock.install()
            first.goto("/")
            tabs = [listening(first), listening(tab_beside(first))]
            numbers = [publish_to_all()]
            assert_received(tabs[1], numbers)
        first.clock.run_for(10_000)
        for tab in tabs:
            expect(tab.get_by_role("alert")).to_contain_text("live connection is down")
        before = current_number()
        start(job)
        numbers += [*range(before + 1, current_number() + 1), publish_to_all()]
        with running_server(urlsplit(address).port or 0):
            for tab in tabs:
                is_live(tab)
                assert_received(tab, numbers)
                tab.clock.run_for(1_000)
                expect(row(tab, job).locator(".chip")).to_have_text("Running")
                expect(tab.get_by_role("alert")).to_be_hidden()
            wait_until(lambda: open_streams() == 1)
            forgive(tabs[1], complaints, "ERR_CONNECTION_REFUSED", "Failed to fetch")
            forgive(tabs[0], complaints, "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "Failed to fetch")
        gc.collect()

    def test_of_somebody_who_signed_out_show_nobody_elses_news(
        self, browse: Browse, alice: User, charlie: User, submit: Submit, complaints: list[str]
    ) -> None:
        job = submit(alice, "alices-own").job
        page = browse(alice, "about:blank")
        page.clock.install()
        page.goto("/")
        is_live(page)
        other = tab_beside(page)
        open_own_menu(other).get_by_role("button", name="Sign out").click()
        other.get_by_label("User name").fill("charlie")
        other.get_by_label("Password").fill("unused-password")
        other.get_by_role("button", name="Sign in").click()
        is_live(other)
        submit(charlie, "charlies-own")
        other.clock.run_for(1_000)
        expect(other.locator("#job-rows")).to_contain_text("charlies-own")

        expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
        act(page, job, "Cancel")
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.get_by_role("alert")).to_have_count(1)
        page.clock.run_for(11_000)
        assert "charlies-own" not in page.content()
        assert not Job.objects.exclude(cancel_requested_at=None).exists()
        forgive(page, complaints, "401")

    def test_whose_leader_hangs_poll_until_it_goes(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = submit(alice).job
        hanging = hanging_leader(browse, alice)
        page = tab_beside(hanging, "about:blank")
        page.clock.install()
        page.goto("/")
        page.clock.run_for(6_000)
        expect(page.get_by_role("alert")).to_contain_text("live connection is down")
        change_silently(job, JobStatus.COMPLETED)
        page.clock.run_for(31_000)
        expect(row(page, job).locator(".chip")).to_have_text("Completed")
        hanging.close()
        is_live(page)
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_hear_in_order_what_came_between_their_page_and_their_question(self, browse: Browse, alice: User) -> None:
        leader = hanging_leader(browse, alice)
        page = tab_beside(leader)
        page.evaluate(COLLECT, static(PAGE_SCRIPT))
        leader.wait_for_function("window.messages.length > 0")
        leader.evaluate("""() => {
          const [{ since, from }] = window.messages;
          const [lost, later] = [since + 1, since + 2];
          window.channel.postMessage({ kind: "event", number: later, before: lost, data: { id: later, type: "x" } });
          const missed = [[lost, { id: lost, type: "x" }], [later, { id: later, type: "x" }]];
          window.channel.postMessage({ kind: "missed", to: from, missed, last: later, up: true });
        }""")
        number = current_number()
        assert_received(page, [number + 1, number + 2])
        is_live(page)


class TestStream:
    def test_what_happens_before_it_is_open_is_not_lost(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = submit(alice).job
        page = browse(alice, "about:blank")

        def start_before_it_is_open(route: Route) -> None:
            start(job)
            connections.close_all()
            route.continue_()

        page.route(STREAM, start_before_it_is_open, times=1)
        page.goto("/")
        expect(row(page, job).locator(".chip")).to_have_text("Running")

    def test_catches_up_after_a_time_without_network(
        self, browse: Browse, alice: User, submit: Submit, complaints: list[str]
    ) -> None:
        job = submit(alice).job
        page = is_live(browse(alice))
        page.context.set_offline(True)
        rights_changed(alice.pk)  # ends the stream, which can't be opened again
        expect(page.get_by_role("alert")).to_contain_text("live connection is down", timeout=15_000)
        expect(page.locator("#pulse")).to_have_text("Not live")
        start(job)
        late = submit(alice, "meanwhile").job
        page.context.set_offline(False)
        expect(row(page, job).locator(".chip")).to_have_text("Running")
        expect(row(page, late)).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()
        forgive(page, complaints, "ERR_INTERNET_DISCONNECTED", "Failed to fetch")

    def test_polls_while_the_stream_is_refused(
        self, browse: Browse, alice: User, submit: Submit, complaints: list[str]
    ) -> None:
        job = submit(alice).job
        page = browse(alice, "about:blank")
        page.clock.install()
        page.route(STREAM, lambda route: route.fulfill(status=503))
        with page.expect_response(STREAM):
            page.goto("/")
        page.clock.run_for(6_000)
        expect(page.get_by_role("alert")).to_contain_text("live connection is down", timeout=15_000)
        change_silently(job, JobStatus.COMPLETED)
        page.clock.run_for(31_000)
        expect(row(page, job).locator(".chip")).to_have_text("Completed")
        forgive(page, complaints, "503")  # each refusal is an error on the console

    def test_at_the_limit_of_streams_says_so_polls_and_asks_again_when_it_was_told_to(
        self, browse: Browse, alice: User, submit: Submit, complaints: list[str], set_limits: SetLimits
    ) -> None:
        set_limits(streams=1)
        job = submit(alice).job
        first = is_live(browse(alice))
        page = browse(alice, "about:blank")
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url) if "/api/events" in request.url else None)
        page.clock.install()
        page.goto("/")
        expect(page.get_by_role("alert")).to_contain_text("You have 1 event stream open, the maximum per user.")
        expect(page.locator("#pulse")).to_have_text("Not live")
        change_silently(job, JobStatus.COMPLETED)
        page.clock.run_for(31_000)
        expect(row(page, job).locator(".chip")).to_have_text("Completed")
        assert len(urls) == 2  # the stream, and why it was refused
        first.close()
        wait_until(lambda: open_streams() == 0)
        page.clock.run_for(30_000)
        is_live(page)
        expect(page.get_by_role("alert")).to_be_hidden()
        forgive(page, complaints, "429")

    def test_a_row_that_could_not_be_fetched_is_asked_for_again(
        self, browse: Browse, alice: User, submit: Submit, complaints: list[str]
    ) -> None:
        job = submit(alice).job
        page = browse(alice, "about:blank")
        page.clock.install()
        page.goto("/")
        is_live(page)
        page.route("**/jobs/rows**", lambda route: route.fulfill(status=500))
        with page.expect_response(re.compile(rf"/jobs/rows\?id={job.pk}$")):
            start(job)
            page.clock.run_for(1_000)
        expect(row(page, job).locator(".chip")).to_have_text("Waiting")
        page.unroute("**/jobs/rows**")
        page.clock.run_for(11_000)
        expect(row(page, job).locator(".chip")).to_have_text("Running", timeout=15_000)
        forgive(page, complaints, "500")

    def test_a_reset_reloads_the_list(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = submit(alice).job
        page = browse(alice, "about:blank")

        def request_trimmed_events(route: Route) -> None:
            change_silently(job, JobStatus.COMPLETED)
            connections.close_all()
            route.continue_(url=f"{route.request.url.partition('?')[0]}?last_event_id=99999")

        page.route(STREAM, request_trimmed_events, times=1)
        page.goto("/")
        expect(row(page, job).locator(".chip")).to_have_text("Completed")

    def test_says_when_the_session_has_ended(
        self, browse: Browse, alice: User, submit: Submit, complaints: list[str]
    ) -> None:
        page = is_live(browse(alice))
        Session.objects.all().delete()
        submit(alice)
        expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
        forgive(page, complaints, "401")
