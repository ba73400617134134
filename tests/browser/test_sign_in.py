"""Signing in, and what one changes about it, in a real browser."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.core import mail
from playwright.sync_api import Page, expect

from cloudtrain_site.accounts import tasks
from tests.browser.conftest import (
    Browse,
    is_live,
    is_wider_than_the_window,
    keep,
    sign_in,
    sticking_out,
    violations,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]
NEW = "a-much-better-one"
SIZES = [{"width": 1280, "height": 800}, {"width": 390, "height": 844}]


@pytest.fixture(autouse=True)
def quick_passwords(settings: pytest.FixtureRequest) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]


@pytest.fixture(params=SIZES, ids=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    chosen: dict[str, int] = request.param
    return chosen


def looked_at(page: Page, name: str) -> None:
    """The page is as people need it; a picture of it is kept."""
    keep(page, f"{name}-{page.viewport_size['width'] if page.viewport_size else ''}")
    assert violations(page) == []
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []


def link_of_mail() -> str:
    found = re.search(r"https?://[^/\s]+(/\S+)", str(mail.outbox[-1].body))
    assert found is not None
    return found[1]


def test_a_forgotten_password_is_set_anew(
    browse: Browse, alice: User, size: dict[str, int], complaints: list[str]
) -> None:
    page = browse(None, "/login", viewport=size)
    looked_at(page, "sign-in")
    page.get_by_label("User name or mail address").fill("alice")
    page.get_by_label("Password", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Wrong user name or password.")
    expect(page.get_by_label("User name or mail address")).to_have_value("alice")
    looked_at(page, "sign-in-refused")
    page.get_by_role("link", name="Forgotten password?").click()
    looked_at(page, "forgotten")
    page.get_by_label("Mail address").fill("alice@example.org")
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    looked_at(page, "link-sent")
    tasks.send_reset_links("alice@example.org")
    page.goto(link_of_mail())
    expect(page.get_by_label("New password", exact=True)).to_be_focused()
    page.get_by_label("New password", exact=True).fill("short")
    page.get_by_label("Repeat the new password").fill("short")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("too short")
    looked_at(page, "password-of-link")
    page.get_by_label("New password", exact=True).fill(NEW)
    page.get_by_label("Repeat the new password").fill(NEW)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Password changed")).to_be_visible()
    looked_at(page, "password-set")
    page.goto(link_of_mail())
    expect(page.get_by_role("heading", name="This link can’t be used")).to_be_visible()
    looked_at(page, "link-used")
    assert len(complaints) == 1  # the browser tells of each 404
    complaints.clear()
    page.goto("/login")
    page.get_by_label("User name or mail address").fill("alice")
    page.get_by_label("Password", exact=True).fill(NEW)
    page.keyboard.press("Enter")
    is_live(page)


def test_too_many_attempts_get_a_page(
    browse: Browse, alice: User, size: dict[str, int], complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first pause is a second, and a slow browser would come after it.
    monkeypatch.setattr("cloudtrain_site.limits.brakes.time", SimpleNamespace(time=lambda: 1_800_000_000.0))
    page = browse(None, "/login", viewport=size)
    for _ in range(6):
        page.get_by_label("User name or mail address").fill("alice")
        page.get_by_label("Password", exact=True).fill("wrong")
        with page.expect_event("domcontentloaded"):
            page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Too many attempts")).to_be_visible()
    looked_at(page, "paused")
    complaints.clear()


def test_mail_address_password_and_sessions_are_ones_own_to_change(
    browse: Browse, alice: User, size: dict[str, int], complaints: list[str]
) -> None:
    elsewhere = is_live(browse(alice))
    page = browse(None, "/login?next=/account", viewport=size)
    sign_in(page, alice)
    is_live(page)
    expect(page.get_by_text("not confirmed")).to_be_visible()
    looked_at(page, "account-sessions")
    sessions = page.get_by_role("table", name="Your sessions")
    expect(sessions.get_by_role("button")).to_have_count(1)
    sessions.get_by_role("button").click()
    expect(page.get_by_text("Signed out in that browser.")).to_be_visible()
    expect(elsewhere.locator("#signed-out")).to_be_visible()

    page.get_by_role("link", name="Change the mail address").click()
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    looked_at(page, "confirm-it-is-you")
    page.get_by_label("Password", exact=True).fill("unused-password")
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("New mail address").fill("new@example.org")
    page.get_by_role("button", name="Send a link to it").click()
    expect(page.get_by_text("We sent you a mail with a link.")).to_be_visible()
    looked_at(page, "mail-address")
    tasks.send_confirmation(alice.emailaddress_set.get(email="new@example.org").pk)  # type: ignore[attr-defined]
    page.goto(link_of_mail())
    looked_at(page, "mail-confirm")
    page.get_by_role("button", name="Confirm address").click()
    expect(page.get_by_text("Mail address confirmed.")).to_be_visible()

    page.get_by_role("link", name="Change the password").click()
    looked_at(page, "password-change")
    page.get_by_label("Current password").fill("unused-password")
    page.get_by_label("New password", exact=True).fill(NEW)
    page.get_by_label("Repeat the new password").fill(NEW)
    page.get_by_label("Revoke all my API keys too").check()
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Password changed.")).to_be_visible()
    assert [text for text in complaints if "401" not in text] == []  # the other browser tells of its refused stream
    complaints.clear()
