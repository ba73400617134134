"""The page of the deployment's checks."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from cloudtrain_site.errors import Conflict
from jobs.dashboard.site import doctor_views
from tests.settings_pages import browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
CHECKS = "/site/checks"
FINDING = {"status": "bad", "message": "It is <broken>.", "remedy": "mend --it"}
CHECK = {"name": "disk", "question": "Is there room?", "status": "bad", "findings": [FINDING], "more": "docs/x.md"}


def answer(*args: object) -> dict[str, Any]:
    return {"status": "bad", "checks": [CHECK]}


def test_it_is_for_superusers(charlie: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_views, "run_apart", answer)
    browser = browser_of(charlie)
    assert browser.get(CHECKS).status_code == browser.post(CHECKS).status_code == 403


def test_it_asks_nothing_before_the_button_is_pressed(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_views, "run_apart", None)
    assert "Can mail be sent?" in text_of(browser_of(root).get(CHECKS))


def test_it_shows_what_was_found_and_what_mends_it(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_views, "run_apart", answer)
    page = text_of(browser_of(root).post(CHECKS))
    assert "Is there room? disk Fault It is <broken>. Fix: mend --it More: docs/x.md" in page


def test_a_second_run_at_the_same_time_is_refused(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy() -> None:
        raise Conflict("The checks are already running.")

    monkeypatch.setattr(doctor_views, "run_apart", busy)
    browser = browser_of(root)
    assert browser.post(CHECKS).status_code == 302
    assert "The checks are already running." in text_of(browser.get(CHECKS))
