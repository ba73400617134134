"""A job's page over a server that was stopped, and after its reader's session has ended."""

from __future__ import annotations

import gc
import re
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, forgive, is_live, keep, report, sign_in
from tests.browser.job_pages import Training, opened, training, view, write_more
from tests.web import running_server

__all__ = ["training"]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


class TestBadTimes:
    # Of a stream that is cut while it is open, Django leaves the file of the request's body to the collector.
    @pytest.mark.filterwarnings("ignore:Unclosed file <tempfile:ResourceWarning")
    def test_catches_up_after_the_server_was_gone_for_ten_seconds(
        self, browse: Browse, alice: User, training: Training, complaints: list[str]
    ) -> None:
        job, path = training()
        with running_server() as address:
            page = browse(alice, "about:blank", base_url=address)
            page.clock.install()
            opened(page, job)
            expect(view(page)).to_contain_text("step 400/500")
            page.evaluate("window.isTheSamePage = true")
        write_more(path, "step 401/500 loss: 0.1\nstep 402/500 lo")
        page.clock.run_for(10_000)
        expect(page.get_by_role("alert")).to_contain_text("live connection is down")
        expect(page.locator("#job-chip")).to_have_text("Running")
        write_more(path, "ss: 0.1\nstep 403/500 loss: 0.1\n")
        report(job, percent=80.6)
        report(job, JobStatus.COMPLETED)
        with running_server(urlsplit(address).port or 0):
            is_live(page)
            page.clock.run_for(11_000)
            expect(page.locator("#job-chip")).to_have_text("Completed")
            expect(page.get_by_role("alert")).to_be_hidden()
            expect(page.get_by_role("region", name="Details")).to_contain_text("Ended")
            expect(view(page)).to_contain_text("step 403/500")
            for step in range(399, 404):
                page.get_by_role("searchbox").fill(f"step {step}/500 loss")
                page.keyboard.press("Enter")
                expect(page.locator("#log-found")).to_have_text("1 of 1")
            assert page.evaluate("window.isTheSamePage"), "the page was loaded anew"
            forgive(page, complaints, "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "Failed to fetch")
        gc.collect()

    def test_whose_session_ended_asks_for_nothing_until_its_reader_is_back(
        self, browse: Browse, alice: User, training: Training, complaints: list[str]
    ) -> None:
        job, path = training()
        page = browse(alice, "about:blank")
        page.clock.install()
        opened(page, job)
        expect(view(page)).to_contain_text("step 400/500")
        Session.objects.all().delete()
        report(job, JobStatus.COMPLETED)
        page.clock.run_for(1_000)
        expect(page.get_by_role("alert")).to_contain_text("You’ve been signed out; this page is no longer updating.")
        expect(page.locator("#pulse")).to_have_text("Not live")
        expect(view(page)).to_contain_text("step 400/500")
        keep(page, "job-signed-out")
        with page.expect_response("**/logs?since=*"):
            page.clock.run_for(30_000)
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        page.clock.run_for(300_000)
        assert urls == []

        write_more(path, "step 401/500 loss: 0.1\n")
        page.get_by_role("link", name="Sign in again").click()
        sign_in(page, alice)
        expect(page).to_have_url(re.compile(f"/jobs/{job.pk}$"))
        expect(page.locator("#job-chip")).to_have_text("Completed")
        expect(view(page)).to_contain_text("step 401/500")
        forgive(page, complaints, "401")
