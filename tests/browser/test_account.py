"""The account page as people use it: in a real browser, against the real API."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from cloudtrain_site.models import ApiKey
from tests.browser.conftest import (
    Browse,
    is_live,
    is_wider_than_the_window,
    keep,
    open_own_menu,
    sticking_out,
    violations,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


def test_a_key_is_made_shown_once_and_revoked(browse: Browse, alice: User, web_server: str) -> None:
    page = is_live(browse(alice))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_own_menu(page).get_by_role("link", name="Account").click()
    expect(page.get_by_text("You have no keys.")).to_be_visible()
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#key-error")).to_contain_text("Enter a name")
    page.get_by_label("Name").fill("<b>laptop 🚂")
    page.get_by_label("Valid for").select_option("a week")
    page.get_by_label("Name").press("Enter")
    shown = page.get_by_label("The new key")
    expect(shown).to_be_focused()
    key = shown.input_value()

    def answer() -> int:
        return httpx.get(f"{web_server}/api/cloud/jobs", headers={"X-API-Key": key}).status_code

    assert answer() == 200
    expect(page.locator("#keys tbody tr")).to_contain_text("<b>laptop 🚂")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".toast")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == key
    keep(page, "account-key")
    assert violations(page) == []
    page.reload()
    assert key not in page.content()

    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Keep it").click()
    assert answer() == 200
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_text("You have no keys.")).to_be_visible()
    expect(page.get_by_label("Name")).to_be_focused()
    assert answer() == 401


def test_choices_are_kept_and_nobody_meets_a_barrier(browse: Browse, alice: User) -> None:
    ApiKey.objects.create(user=alice, name="laptop")
    ApiKey.objects.update(created=datetime.fromisoformat("2026-01-31T23:30:00+00:00"))
    page = is_live(browse(alice, "/account", reduced_motion="reduce"))
    made = page.locator("td[data-label=Created] time")
    expect(made).to_have_text("1 Feb 2026")
    made.click()
    expect(page.get_by_text("1 February 2026 at 00:30:00")).to_be_visible()
    page.get_by_label("Time zone of all pages").select_option("America/New_York")
    expect(made).to_have_text("31 Jan 2026")
    expect(page.get_by_text("Times are shown in this zone")).to_be_visible()
    page.reload()
    expect(made).to_have_text("31 Jan 2026")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"account-{scheme}")
    page.set_viewport_size({"width": 360, "height": 740})
    assert not is_wider_than_the_window(page)
    assert violations(page) == [], "on a phone"
    assert sticking_out(page) == []
    keep(page, "account-phone")

    page.get_by_role("link", name="Change the password").click()
    page.get_by_label("Current password").fill("a guess")
    page.get_by_label("New password", exact=True).fill("a-much-better-one")
    page.get_by_label("Repeat the new password").fill("a-much-better-one")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Wrong password.").first).to_be_visible()
    assert violations(page) == []
    keep(page, "account-password")
