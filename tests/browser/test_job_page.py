"""The page of one job as people see it: in a real browser, over the real event stream."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from approvals import decisions
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs.models import Job, LogPiece
from jobs.statuses import JobStatus
from tests.browser.conftest import (
    Browse,
    is_live,
    is_wider_than_the_window,
    keep,
    report,
    row,
    start,
    sticking_out,
    violations,
)
from tests.browser.job_pages import LOG, Submit, Training, opened, training, view, write_more

__all__ = ["training"]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

MakeJob = Callable[..., Job]
#: Scrolls through the whole log, one step a frame, and tells how long the longest frame took.
LONGEST_FRAME = """() => new Promise((resolve) => {
  const box = document.querySelector("#log-view");
  const step = (box.scrollHeight - box.clientHeight) / 60;
  let longest = 0, before = performance.now(), count = 0;
  requestAnimationFrame(function frame(now) {
    if (count) longest = Math.max(longest, now - before);
    before = now;
    box.scrollTop = step * (count += 1);
    if (count <= 60) requestAnimationFrame(frame); else resolve(longest);
  });
})"""


class TestForEveryone:
    def test_has_no_barriers_and_is_as_wide_as_the_window(
        self, browse: Browse, alice: User, training: Training
    ) -> None:
        config = {"max_train_steps": 500, "learning_rate": 1e-4, "hub_token": "hf_abcdefgh12345"}
        job, _ = training(config=config)
        page = opened(browse(alice, "about:blank", reduced_motion="reduce"), job)
        expect(view(page)).to_contain_text("step 400/500")
        expect(page.locator("#numbers")).to_contain_text("Loss")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            keep(page, f"job-{scheme}")
            assert violations(page) == [], scheme
        page.set_viewport_size({"width": 360, "height": 740})
        keep(page, "job-phone-dark")
        assert violations(page) == [], "on a phone"
        assert sticking_out(page) == []
        for width in (320, 360, 600, 900, 1280):
            page.set_viewport_size({"width": width, "height": 740})
            assert not is_wider_than_the_window(page), width

    def test_the_steps_of_a_long_training_fit_a_phone(self, browse: Browse, alice: User, training: Training) -> None:
        late = "".join(f"step {step}/99999 loss: {loss} lr: 1e-4\n" for step, loss in ((52_000, 0.01), (55_000, 1.25)))
        page = browse(alice, "about:blank")
        page.set_viewport_size({"width": 360, "height": 740})
        opened(page, training(log=LOG + late)[0])
        expect(page.locator("#numbers")).to_contain_text("55,000")
        assert not is_wider_than_the_window(page)


class TestTabs:
    def test_have_addresses_and_what_is_open_is_live(
        self, browse: Browse, alice: User, bob: User, submit: Submit, training: Training
    ) -> None:
        job, _ = training(config={"max_train_steps": 500, "validation_prompts": ["a cat"] * 12})
        page = opened(browse(alice, "about:blank", viewport={"width": 1280, "height": 900}), job)
        expect(view(page)).to_contain_text("step 400/500")
        expect(page.locator("#numbers")).to_contain_text("Loss")
        head, log, curves = (
            page.locator(name).evaluate("element => element.getBoundingClientRect().toJSON()")
            for name in ("#job-card", "#log", "#curves")
        )
        assert head["height"] <= 150
        assert log["y"] == curves["y"] < 450, "side by side"
        for tab in ("Log", "Curves", "Results", "Config", "History"):
            page.get_by_role("navigation", name="The job").get_by_role("link", name=tab).click()
            is_live(page)
            expect(page).to_have_url(re.compile(f"/jobs/{job.pk}/{tab.lower()}$"))
            expect(page.locator(".job-tabs [aria-current]")).to_have_text(tab)
            assert violations(page) == [], tab
            for width in (320, 1920):
                page.set_viewport_size({"width": width, "height": 900})
                assert not is_wider_than_the_window(page), (tab, width)
            keep(page, f"job-tab-{tab.lower()}")
        report(job, JobStatus.FAILED, error_message="The disk is full.")
        expect(page.locator("#history")).to_contain_text("The disk is full.")
        page.go_back()
        expect(page.locator("summary", has_text="validation_prompts")).to_be_visible()
        page.get_by_role("link", name="Find it in the log").click()
        expect(page.get_by_role("searchbox")).to_have_value("The disk is full.")


class TestLog:
    def test_follows_the_end_until_somebody_scrolls_up(self, browse: Browse, alice: User, training: Training) -> None:
        job, path = training()
        page = browse(alice, "about:blank")
        page.clock.install()
        opened(page, job)
        expect(view(page)).to_contain_text("step 400/500")
        follow = page.get_by_role("button", name="Follow")
        expect(follow).to_be_hidden()

        write_more(path, "step 401/500 loss: 0.1\n")
        page.clock.fast_forward(6_000)
        expect(view(page)).to_contain_text("step 401/500")
        view(page).focus()
        page.keyboard.press("Home")
        expect(view(page)).to_contain_text("INFO loading")
        expect(follow).to_be_visible()
        write_more(path, "step 402/500 loss: 0.1\nstep 403/500")
        page.clock.fast_forward(6_000)
        report(job, percent=80.4)
        expect(page.locator("[data-percent]")).to_have_text("80 %")
        expect(view(page)).to_contain_text("INFO loading")

        follow.click()
        expect(view(page)).to_contain_text("step 403/500")
        expect(follow).to_be_hidden()
        write_more(path, " loss: 0.2\n")
        page.clock.fast_forward(6_000)
        expect(view(page)).to_contain_text("step 403/500 loss: 0.2")

    def test_is_only_ever_text_and_readable_whatever_it_holds(
        self, browse: Browse, alice: User, training: Training
    ) -> None:
        job, path = training(log=LOG + "x" * 100_000 + "the-end\n")
        path.write_bytes(path.read_bytes() + bytes(range(256)) * 8 + b"\n\x1b[31mred\x1b[0m \x1b]0;title\x07done\n")
        page = opened(browse(alice, "about:blank"), job)
        expect(view(page)).to_contain_text("red done")
        expect(view(page).locator(".ink-1")).to_have_text("red")
        assert page.locator("#log-view script, #log-view img").count() == 0
        assert not view(page).evaluate("element => element.scrollWidth > element.clientWidth")

        search = page.get_by_role("searchbox")
        search.fill("the-end")
        expect(page.locator("#log-found")).to_have_text("1 of 1")
        expect(page.locator("mark.is-current")).to_be_in_viewport()
        view(page).focus()
        page.keyboard.press("Home")
        first = view(page).locator(".log-row")
        expect(first.nth(0)).to_have_text("INFO loading the dataset <script>alert(1)</script> ␀␇ end")
        expect(first.nth(0).locator(".ink-2")).to_have_text("INFO")
        expect(first.nth(1)).to_have_text("Preparing: 100%")
        page.set_viewport_size({"width": 320, "height": 640})
        expect(first.nth(0)).to_have_text("INFO loading the dataset ", use_inner_text=False)

    def test_is_searched_by_keyboard(self, browse: Browse, alice: User, training: Training) -> None:
        job, _ = training()
        page = opened(browse(alice, "about:blank"), job)
        expect(view(page)).to_contain_text("step 400/500")
        page.get_by_role("searchbox").focus()
        page.keyboard.type("STEP 39")
        found, current = page.locator("#log-found"), page.locator("mark.is-current")
        expect(found).to_have_text(re.compile(r"^\d+ of 11$"))
        page.get_by_role("searchbox").fill("step 1")
        expect(found).to_have_text("1 of 111")
        expect(page.locator(".log-row", has=current)).to_have_attribute("data-line", "3")
        page.keyboard.press("Enter")
        expect(found).to_have_text("2 of 111")
        expect(page.locator(".log-row", has=current)).to_contain_text("step 10/")
        keep(page, "job-search")
        page.keyboard.press("Shift+Enter")
        page.keyboard.press("Shift+Enter")
        expect(found).to_have_text("111 of 111")
        expect(page.locator(".log-row", has=current)).to_contain_text("step 199/")
        page.get_by_role("searchbox").fill("(.*")
        expect(found).to_have_text("No match")

    def test_of_five_megabytes_opens_at_once_and_scrolls(
        self, browse: Browse, alice: User, make_job: MakeJob, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = "2026-11-22 13:04:40,123 - INFO - step {}/60000 loss: 0.0871 lr: 0.0001 grad_norm: 0.42 {}\n"
        text = "".join(line.format(step, "x" * (step % 30)) for step in range(50_000))
        text = text[:5_000_000].rpartition("\n")[0] + "\nthe last line\n"
        job = make_job(provider="replicate", external_id="abc", status=JobStatus.COMPLETED)
        LogPiece.objects.create(job=job, start=0, end=len(text), text=text)
        page = browse(alice, "about:blank")
        page.goto(f"/jobs/{job.pk}", wait_until="commit")
        page.wait_for_function("() => document.querySelector('#log-view')?.textContent.includes('the last line')")
        took = page.evaluate("performance.now()")
        report = f"{len(text) / 1e6:.1f} MB of log: last line in view after {took:.0f} ms"
        assert page.locator(".log-row").count() < 200
        view(page).evaluate("element => { element.scrollTop = 0 }")
        expect(view(page)).to_contain_text("step 0/60000")
        frames = page.evaluate(LONGEST_FRAME)
        with capsys.disabled():
            sys.stdout.write(f"\n{report}; longest frame of a scroll through it: {frames:.0f} ms\n")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the log").click()
        assert download.value.suggested_filename == f"{job.config_name}-{job.pk}.log"
        assert download.value.path().read_text() == text


class TestLive:
    def test_shows_a_job_from_its_place_in_the_queue_to_its_end(
        self, browse: Browse, alice: User, charlie: User, submit: Submit, complaints: list[str]
    ) -> None:
        name = "🚂 שלום <b>bold</b>"
        job = submit(alice, name).job
        page = opened(browse(alice, "about:blank"), job)
        chip, spoken = page.locator("#job-chip"), page.locator("#spoken")
        expect(page.get_by_role("heading", name="Queue")).to_be_visible()
        expect(page.get_by_text("The log begins when the provider starts the job.")).to_be_visible()
        start(job)
        expect(chip).to_have_text("Running")
        expect(spoken).to_have_text(f"{name}: Running")
        expect(page).to_have_title(f"{name}: Running · cloudtrain")
        expect(page.get_by_role("heading", name="Queue")).to_be_hidden()
        for step in (405, 519):
            Job.objects.update(progress_told_at=None)
            report(job, step=step)
            expect(page.get_by_role("progressbar")).to_have_js_property("value", step / 10)
            # At once, without a look at the server.
            assert page.locator("[data-percent]").inner_text() == f"{step // 10} %"
            assert page.locator("[data-steps]").inner_text() == f"step {step} of 1000"
        report(job, JobStatus.FAILED, error_message="The disk is full.")
        expect(chip).to_have_text("Failed")
        expect(page.get_by_role("group", name="Why it failed").locator("p").first).to_have_text("The disk is full.")
        page.get_by_role("link", name="History", exact=True).click()
        expect(page.locator("#history")).to_contain_text("The disk is full.")

        theirs = browse(charlie, f"/jobs/{job.pk}")
        expect(theirs.get_by_role("heading", name="Page not found")).to_be_visible()
        assert "שלום" not in theirs.content()
        assert complaints and all("404" in complaint for complaint in complaints)
        complaints.clear()

    def test_a_held_job_shows_its_request_and_who_decided(
        self, browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
    ) -> None:
        job = submit(alice).job
        alices, bobs = opened(browse(alice, "about:blank"), job), opened(browse(bob, "about:blank"), job)
        expect(alices.locator("#job-chip")).to_have_text("Held")
        expect(alices.get_by_text("Only leads and admins of the organization can decide")).to_be_visible()
        keep(bobs, "job-held")
        assert violations(bobs) == []
        expect(bobs.get_by_role("link", name="Review", exact=True)).to_be_visible()
        request = ApprovalRequest.objects.get()
        assert decisions.approve(request, user=bob, source=Source.API, notes="fine, go on")
        expect(alices.locator("#job-chip")).to_have_text("Waiting")
        expect(alices.get_by_role("region", name="Needs approval")).to_be_hidden()
        expect(alices.get_by_role("region", name="Queue")).to_be_visible()
        alices.get_by_role("link", name="History", exact=True).click()
        expect(alices.get_by_role("list", name="The steps of the job")).to_contain_text("By bob: fine, go on")

    def test_a_job_that_ends_without_figures_is_not_said_to_have_none_so_far(
        self, browse: Browse, alice: User, training: Training
    ) -> None:
        job, _ = training(log="nothing to report\n")
        curves = opened(browse(alice, "about:blank"), job).locator("#curves-state")
        expect(curves).to_have_text("Curves appear once training reports a loss.")
        report(job, JobStatus.COMPLETED)
        expect(curves).to_have_text("No metrics recorded.")
        expect(opened(browse(alice, "about:blank"), job).locator("#curves-state")).to_have_text("No metrics recorded.")

    def test_says_when_the_job_is_gone(
        self, browse: Browse, alice: User, bob: User, make_job: MakeJob, complaints: list[str]
    ) -> None:
        job = make_job(status=JobStatus.FAILED, error_message="no")
        alices, bobs = opened(browse(alice, "about:blank"), job), opened(browse(bob, "about:blank"), job)
        alices.locator(".job-acts summary").click()
        alices.get_by_role("button", name="Delete").click()
        with bobs.expect_response("**/parts/head"), bobs.expect_response("**/parts/details"):
            alices.get_by_role("button", name="Delete the job").click()
        expect(alices.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        expect(bobs.get_by_role("alert")).to_contain_text("no longer have access")
        assert complaints and all("404" in complaint for complaint in complaints)
        complaints.clear()


class TestActs:
    def test_two_people_cancel_the_same_job(
        self, browse: Browse, alice: User, bob: User, training: Training, complaints: list[str]
    ) -> None:
        job, _ = training()
        alices, bobs = opened(browse(alice, "about:blank"), job), opened(browse(bob, "about:blank"), job)
        bobs.get_by_role("button", name="Cancel").click()
        alices.get_by_role("button", name="Cancel").focus()
        alices.keyboard.press("Enter")
        alices.keyboard.press("Tab")
        alices.keyboard.press("Enter")
        for page in (alices, bobs):
            expect(page.locator("#job-chip")).to_have_text("Cancelling")
        expect(alices.get_by_text("Waiting for local to confirm")).to_be_visible()
        report(job, JobStatus.CANCELLED)
        for page in (alices, bobs):
            expect(page.locator("#job-chip")).to_have_text("Cancelled")
        bobs.get_by_role("button", name="Cancel the job").click()
        expect(bobs.get_by_role("alert")).to_contain_text("The job has already ended (cancelled).")
        assert complaints and all("409" in complaint for complaint in complaints)
        complaints.clear()

    def test_the_keyboard_stays_at_a_button_whose_request_was_refused(
        self, browse: Browse, alice: User, training: Training, complaints: list[str]
    ) -> None:
        page = opened(browse(alice, "about:blank"), training()[0])
        page.route("**/cancel", lambda route: route.abort())
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
        expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
        assert complaints and all("ERR_FAILED" in complaint for complaint in complaints)
        complaints.clear()

    def test_a_failed_job_is_run_again_and_its_config_copied(
        self, browse: Browse, alice: User, make_job: MakeJob
    ) -> None:
        job = make_job(
            status=JobStatus.FAILED, error_message="no", config={"max_train_steps": 10, "api_key": "s3cr3t-s3cr3t"}
        )
        page = opened(browse(alice, "about:blank", permissions=["clipboard-read", "clipboard-write"]), job)
        keep(page, "job-failed")
        page.get_by_role("link", name="Config", exact=True).click()
        page.get_by_role("button", name="Copy the config").click()
        expect(page.get_by_text("Copied.")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert json.loads(copied) == {"max_train_steps": 10, "api_key": "***"}
        page.get_by_role("button", name="Retry").click()
        page.get_by_role("button", name="Run it again").click()
        expect(page.get_by_role("link", name="the previous attempt")).to_be_visible()
        again = Job.objects.get(retry_of=job)
        expect(page).to_have_url(re.compile(again.pk))


class TestFromTheList:
    def test_an_ended_job_is_opened_run_again_and_deleted_by_keyboard(
        self, browse: Browse, alice: User, bob: User, make_job: MakeJob
    ) -> None:
        job = make_job(status=JobStatus.FAILED, error_message="no")
        page, bobs = is_live(browse(alice)), is_live(browse(bob))
        menu = row(page, job).locator(".job-act summary")
        menu.focus()
        for key in ("Enter", "Tab", "Enter"):
            page.keyboard.press(key)
        expect(page.get_by_role("dialog")).to_contain_text("is submitted once more")
        keep(page, "jobs-question-retry")
        page.keyboard.press("Escape")
        expect(menu).to_be_focused()
        page.keyboard.press("Enter")
        row(page, job).get_by_role("button", name="Retry").click()
        page.get_by_role("button", name="Run it again").click()
        expect(page.get_by_text("Submitted again.")).to_be_visible()
        again = Job.objects.get(retry_of=job)
        expect(row(page, again)).to_be_visible()

        menu.click()
        expect(row(page, job).get_by_role("button", name="Delete")).to_be_visible()
        keep(page, "jobs-menu")
        assert violations(page) == []
        page.keyboard.press("Escape")
        expect(row(page, job).get_by_role("button", name="Delete")).to_be_hidden()
        menu.click()
        row(page, job).get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete the job").click()
        expect(row(page, job)).to_be_hidden()
        expect(page.locator("#jobs-view")).to_be_focused()
        expect(row(bobs, job)).to_be_hidden()

        row(page, again).get_by_role("link", name=again.config_name).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=again.config_name, exact=True)).to_be_visible()
