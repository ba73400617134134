"""The admin, the page of the API and the error pages in a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from approvals.intake import Outcome
from jobs.models import Job
from tests.browser.conftest import (
    Browse,
    keep,
    violations,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Submit = Callable[..., Outcome]
MakeJob = Callable[..., Job]


@pytest.mark.long
class TestOtherPages:
    def test_the_admin_runs_under_the_policy(self, browse: Browse, busy_team: None, root: User, alice: User) -> None:
        page = browse(root, "/admin/", color_scheme="dark")
        keep(page, "admin-dark")
        for address in ("jobs/job/", "approvals/approvalrule/add/", "jobs/organization/add/", "auth/user/"):
            page.goto(f"/admin/{address}")
            expect(page.locator(".bar")).to_contain_text("cloudtrain")
        keep(page, "admin-users")

    def test_the_page_of_the_api_runs_under_the_policy(self, browse: Browse, alice: User) -> None:
        page = browse(alice, "/api/docs")
        expect(page.get_by_text("/api/cloud/jobs/submit", exact=True)).to_be_visible()

    def test_an_error_has_the_same_look(self, browse: Browse, root: User, complaints: list[str]) -> None:
        page = browse(root, "/admin/nowhere/")
        expect(page.get_by_role("link", name="To the jobs")).to_be_visible()
        assert violations(page) == []
        keep(page, "not-found")
        assert complaints and all("404" in complaint for complaint in complaints)
        complaints.clear()
