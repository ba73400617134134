"""The list of jobs as people see it: in a real browser, over the real event stream."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from approvals.intake import Outcome
from approvals.models import ApprovalRule
from cloudtrain_site.events.publish import EVERYONE, Event, publish
from jobs.models import Job, SavedView
from jobs.statuses import JobStatus
from tests.browser.conftest import (
    Browse,
    act,
    change_silently,
    is_live,
    is_wider_than_the_window,
    keep,
    open_own_menu,
    report,
    row,
    start,
    violations,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Submit = Callable[..., Outcome]
MakeJob = Callable[..., Job]


@pytest.mark.long
class TestLogin:
    def test_lets_a_researcher_in_and_out(self, browse: Browse, alice: User) -> None:
        page = browse(None)
        expect(page).to_have_title("Sign in · cloudtrain")
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill("unused-password")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        # The page fetches the totals afterwards: without the session the server would refuse them.
        expect(page.locator("#totals")).to_contain_text("0 jobs")

        open_own_menu(page).get_by_role("button", name="Sign out").click()
        expect(page).to_have_title("Sign in · cloudtrain")

    def test_says_when_the_password_is_wrong(self, browse: Browse, alice: User) -> None:
        page = browse(None, "/login")
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill("a guess")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("Wrong user name or password.")


class TestLive:
    def test_what_a_running_job_costs_follows_each_poll(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = start(submit(alice, "running").job)
        pages = [is_live(browse(alice, address)) for address in ("/", f"/jobs/{job.pk}")]
        for cost in ("1.25", "2.50"):
            Job.objects.update(progress_told_at=None)
            report(job, cost_usd=Decimal(cost))
            for page in pages:
                expect(page.locator("#main")).to_contain_text(f"${cost}", timeout=10_000)
        Job.objects.update(progress_told_at=None)
        report(job, cost_doubt="there is no price for h100.")
        for page in pages:
            expect(page.locator("#main")).to_contain_text("Not known, at least $2.50", timeout=10_000)

    def test_a_new_job_appears_on_top(self, browse: Browse, alice: User, submit: Submit) -> None:
        submit(alice, "the-first")
        page = is_live(browse(alice))
        job = submit(alice, "the-second").job
        expect(page.locator("#job-rows tr").first).to_contain_text("the-second")
        expect(row(page, job)).to_contain_text("Waiting")

    def test_the_first_job_replaces_the_words_about_none(self, browse: Browse, alice: User, submit: Submit) -> None:
        page = is_live(browse(alice))
        expect(page.get_by_text("No jobs yet")).to_be_visible()
        job = submit(alice).job
        expect(row(page, job)).to_be_visible()
        expect(page.get_by_text("No jobs yet")).to_be_hidden()

    def test_the_progress_bar_moves(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = start(submit(alice).job)
        page = is_live(browse(alice))
        bar = row(page, job).get_by_role("progressbar")
        expect(bar).not_to_have_attribute("value", "40.5")
        report(job, percent=40.5)
        expect(bar).to_have_js_property("value", 40.5)
        expect(row(page, job)).to_contain_text("Training")
        expect(row(page, job)).to_contain_text("40 %")

    def test_a_job_goes_from_waiting_to_its_end_and_is_announced(
        self, browse: Browse, alice: User, submit: Submit
    ) -> None:
        job = submit(alice).job
        page = is_live(browse(alice))
        start(job)
        expect(row(page, job).locator(".chip")).to_have_text("Running")
        expect(page.get_by_role("link", name="Running 1")).to_be_visible()
        report(job, JobStatus.FAILED, error_message="The disk is full.")
        expect(row(page, job)).to_contain_text("The disk is full.")
        expect(page.locator("#spoken")).to_have_text("flux-portraits: Failed")
        expect(row(page, job).get_by_text("Cancel")).to_have_count(0)

    def test_a_job_leaves_the_tab_that_it_no_longer_belongs_to(
        self, browse: Browse, alice: User, submit: Submit
    ) -> None:
        waiting, started = submit(alice, "stays").job, submit(alice, "leaves").job
        page = is_live(browse(alice))
        page.get_by_role("link", name="Waiting").click()
        expect(page).to_have_url(re.compile(r"/\?status=pending$"))
        is_live(page)
        start(started)
        expect(row(page, started)).to_be_hidden()
        expect(row(page, waiting)).to_be_visible()

    def test_a_stranger_sees_nothing_of_it(self, browse: Browse, alice: User, charlie: User, submit: Submit) -> None:
        page = browse(charlie)
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        is_live(page)
        job = start(submit(alice, "a-secret").job)
        report(job, percent=50)
        submit(charlie, "his-own")
        expect(page.locator("#job-rows")).to_contain_text("his-own")
        assert "a-secret" not in page.content()
        assert not [url for url in urls if job.pk in url]

    def test_a_name_is_only_ever_text(self, browse: Browse, alice: User, submit: Submit) -> None:
        page = is_live(browse(alice))
        name = "<img src=x onerror=alert(1)>\"'& 🚂 שלום"
        job = submit(alice, name).job
        expect(row(page, job).locator("bdi").first).to_have_text(name)
        start(job)
        expect(page.get_by_role("progressbar", name=f"Progress of {name}")).to_be_visible()

    def test_a_name_from_right_to_left_and_a_large_sum_stay_in_their_columns(
        self, browse: Browse, alice: User, make_job: MakeJob
    ) -> None:
        job = make_job(config_name="שלום", estimated_cost_usd=Decimal("48800.25"))
        SavedView.objects.create(owner=alice, name="שלום " * 12)
        page = is_live(browse(alice))
        shown = row(page, job)
        begins_inside = """(it) => { const first = document.createRange(), text = it.querySelector("bdi").firstChild;
          first.setStart(text, 0); first.setEnd(text, 1);
          return first.getBoundingClientRect().right <= it.getBoundingClientRect().right + 0.5; }"""
        assert page.locator(".saved-view").evaluate(begins_inside)
        indent = """(it) => { const text = document.createRange(); text.selectNodeContents(it);
          return text.getBoundingClientRect().left - it.getBoundingClientRect().left; }"""
        assert shown.locator("bdi").first.evaluate(indent) == 0
        cost = shown.get_by_title("~$48,800.25")
        assert cost.evaluate("(it) => it.scrollWidth <= it.clientWidth")


@pytest.mark.long
class TestCancelling:
    def test_asks_first(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = submit(alice).job
        page = is_live(browse(alice))
        act(page, job, "Cancel")
        expect(page.get_by_role("dialog")).to_contain_text("flux-portraits stops")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert Job.objects.get().status == JobStatus.PENDING

        act(page, job, "Cancel")
        page.get_by_role("button", name="Cancel the job").click()
        expect(row(page, job).locator(".chip")).to_have_text("Cancelled")
        expect(row(page, job)).to_contain_text("By alice")

    def test_of_a_running_job_waits_for_its_provider(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = start(submit(alice).job)
        page = is_live(browse(alice))
        row(page, job).locator("summary").focus()
        for key in ("Enter", "Tab", "Enter", "Tab", "Enter"):
            page.keyboard.press(key)
        expect(row(page, job).locator(".chip")).to_have_text("Cancelling")
        report(job, JobStatus.CANCELLED)
        expect(row(page, job).locator(".chip")).to_have_text("Cancelled")

    def test_too_late_says_so(self, browse: Browse, alice: User, submit: Submit, complaints: list[str]) -> None:
        job = submit(alice).job
        page = is_live(browse(alice))
        act(page, job, "Cancel")
        # Any refresh of the list shows the end, and then there is no Cancel. The question stays.
        change_silently(job, JobStatus.COMPLETED)
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.get_by_role("alert")).to_contain_text("The job has already ended (completed).")
        expect(row(page, job).locator(".chip")).to_have_text("Completed")
        assert complaints and all("409" in complaint for complaint in complaints)
        complaints.clear()

    def test_is_offered_only_to_who_may(self, browse: Browse, alice: User, bob: User, submit: Submit) -> None:
        job = submit(bob).job
        expect(row(browse(alice), job).locator("summary")).to_have_count(0)
        page = browse(bob)
        row(page, job).locator("summary").click()
        expect(row(page, job).get_by_role("button", name="Cancel")).to_be_visible()


class TestApproval:
    def test_a_held_job_says_why_and_goes_on_when_a_lead_approves(
        self, browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
    ) -> None:
        job = submit(alice).job
        alices, bobs = is_live(browse(alice)), browse(bob)
        expect(row(alices, job).locator(".chip")).to_have_text("Held")
        expect(row(alices, job)).to_contain_text("The cost can't be estimated")
        expect(row(alices, job).get_by_role("link", name="Review")).to_have_count(0)

        row(bobs, job).locator("summary").click()
        row(bobs, job).get_by_role("link", name="Review").click()
        expect(bobs.locator(".request")).to_be_focused()
        bobs.locator(".request").get_by_role("link", name="In the admin").click()
        expect(bobs.get_by_text("The cost can't be estimated")).to_be_visible()
        keep(bobs, "request")
        assert violations(bobs) == []
        bobs.get_by_label("Reason", exact=True).fill("fine, go on")
        bobs.get_by_role("button", name="Approve").click()
        expect(bobs.get_by_text("1 approved.")).to_be_visible()
        expect(row(alices, job).locator(".chip")).to_have_text("Waiting")

        bobs.get_by_role("link", name="cloudtrain").click()
        expect(row(bobs, job).locator(".chip")).to_have_text("Waiting")

    def test_a_rejection_needs_a_reason_which_the_submitter_reads(
        self, browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
    ) -> None:
        job = submit(alice).job
        alices, bobs = is_live(browse(alice)), browse(bob)
        row(bobs, job).locator("summary").click()
        row(bobs, job).get_by_role("link", name="Review").click()
        bobs.locator(".request").get_by_role("link", name="In the admin").click()
        bobs.get_by_role("button", name="Reject").click()
        expect(bobs.get_by_text("Give a reason. The requester reads it.")).to_be_visible()
        bobs.get_by_label("Reason", exact=True).fill("use the smaller card")
        bobs.get_by_role("button", name="Reject").click()
        expect(bobs.get_by_text("1 rejected.")).to_be_visible()
        expect(row(alices, job).locator(".chip")).to_have_text("Cancelled")
        expect(row(alices, job)).to_contain_text("use the smaller card")

    def test_several_are_decided_on_a_page_of_their_own(
        self, browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
    ) -> None:
        job = submit(alice).job
        page = browse(bob, "/admin/approvals/approvalrequest/")
        page.locator("#action-toggle").check()
        page.get_by_label("Action:").select_option("approve_selected")
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("heading", name="Approve 1 request")).to_be_visible()
        keep(page, "request-decide")
        assert violations(page) == []
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("1 approved.")).to_be_visible()
        assert Job.objects.get(pk=job.pk).status == JobStatus.PENDING


@pytest.mark.long
class TestPaging:
    def test_older_jobs_are_a_page_of_their_own(self, browse: Browse, alice: User, make_job: MakeJob) -> None:
        jobs = [make_job(config_name=f"number-{number}", status=JobStatus.COMPLETED) for number in range(60)]
        oldest = min(jobs, key=lambda job: job.pk)
        page = browse(alice)
        expect(page.locator("#job-rows tr")).to_have_count(50)
        page.get_by_role("link", name="Older jobs").click()
        expect(page.locator("#job-rows tr")).to_have_count(10)
        expect(row(page, oldest)).to_be_visible()
        page.get_by_role("link", name="Back to the newest").click()
        expect(page.locator("#job-rows tr")).to_have_count(50)

    def test_a_new_job_stays_off_an_older_page(
        self, browse: Browse, alice: User, make_job: MakeJob, submit: Submit
    ) -> None:
        jobs = sorted((make_job() for _ in range(3)), key=lambda job: job.pk)
        page = is_live(browse(alice, f"/?cursor={jobs[1].pk}"))
        new = submit(alice).job
        start(jobs[0])
        expect(row(page, jobs[0]).locator(".chip")).to_have_text("Running")
        expect(row(page, new)).to_be_hidden()

    def test_a_search_is_kept_in_the_address(self, browse: Browse, alice: User, make_job: MakeJob) -> None:
        make_job(config_name="sdxl-cats")
        make_job(config_name="flux-dogs")
        page = browse(alice)
        page.get_by_role("searchbox").fill("cats")
        page.keyboard.press("Enter")
        expect(page.locator("#job-rows tr")).to_have_count(1)
        page.get_by_role("link", name="Failed").click()
        expect(page.get_by_role("heading", name="No jobs match these filters")).to_be_visible()
        expect(page.get_by_role("searchbox")).to_have_value("cats")
        assert page.url.endswith("?search=cats&status=failed")


@pytest.mark.long
class TestForEveryone:
    def test_the_list_has_no_barriers(self, browse: Browse, busy_team: None, bob: User) -> None:
        # Without motion the colours change at once.
        page = is_live(browse(bob, reduced_motion="reduce"))
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == [], scheme
            keep(page, f"jobs-{scheme}")
        page.set_viewport_size({"width": 360, "height": 740})
        assert violations(page) == [], "on a phone"
        keep(page, "jobs-phone-dark")

    def test_the_login_has_no_barriers(self, browse: Browse) -> None:
        page = browse(None, reduced_motion="reduce")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == [], scheme
            keep(page, f"login-{scheme}")

    def test_the_question_has_no_barriers(self, browse: Browse, alice: User, submit: Submit) -> None:
        submit(alice)
        page = is_live(browse(alice))
        act(page, Job.objects.get(), "Cancel")
        assert violations(page) == []
        keep(page, "jobs-question")

    def test_an_empty_list_has_no_barriers(self, browse: Browse, alice: User) -> None:
        page = is_live(browse(alice, viewport={"width": 360, "height": 740}))
        assert violations(page) == []
        assert not is_wider_than_the_window(page)
        keep(page, "jobs-empty")

    def test_nobody_scrolls_sideways(self, browse: Browse, busy_team: None, bob: User) -> None:
        page = is_live(browse(bob))
        for width in (320, 360, 600, 900, 1280):
            page.set_viewport_size({"width": width, "height": 740})
            assert not is_wider_than_the_window(page), width
            keep(page, f"jobs-{width}")

    def test_who_is_signed_in_stands_beside_the_name_of_the_site(self, browse: Browse, bob: User) -> None:
        page = browse(bob, viewport={"width": 768, "height": 740})
        brand, leave = page.locator(".brand").bounding_box(), page.locator(".who .me").bounding_box()
        assert brand and leave
        assert leave["y"] < brand["y"] + brand["height"]
        assert leave["x"] + leave["width"] > 700

    def test_dark_is_dark(self, browse: Browse, alice: User) -> None:
        page = browse(alice, color_scheme="dark")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(16, 20, 27)"

    def test_less_motion_is_none(self, browse: Browse, alice: User, submit: Submit) -> None:
        start(submit(alice).job)
        page = browse(alice, reduced_motion="reduce")
        assert page.evaluate("document.getAnimations().length") == 0

    def test_times_are_in_the_readers_zone(self, browse: Browse, alice: User, make_job: MakeJob) -> None:
        job = make_job(created_at=datetime.fromisoformat("2026-01-31T23:30:00+00:00"))
        when = row(browse(alice), job).locator(".job-figures time")
        expect(when).to_have_text("1 Feb 2026")
        expect(when).to_have_attribute("title", "Sunday, 1 February 2026 at 00:30:00 CET")

    def test_what_one_has_open_stays_open(self, browse: Browse, alice: User, submit: Submit) -> None:
        job = submit(alice).job
        page = is_live(browse(alice))
        menu = row(page, job).locator("summary")
        menu.click()
        Job.objects.filter(pk=job.pk).update(config_name="renamed")
        publish(Event("queue_changed", EVERYONE, {"queue_depth": 1, "running": 0}))
        expect(row(page, job)).to_contain_text("renamed")
        expect(row(page, job).get_by_role("button", name="Cancel")).to_be_visible()
        expect(menu).to_be_focused()


def test_the_page_asks_nobody_else(browse: Browse, alice: User, web_server: str) -> None:
    urls: list[str] = []

    def note(page: Page) -> None:
        page.on("request", lambda request: urls.append(request.url))

    page = browse(alice, "about:blank")
    note(page)
    page.goto("/")
    is_live(page)
    assert urls and all(url.startswith(web_server) for url in urls)
