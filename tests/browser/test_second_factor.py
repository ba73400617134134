"""Second factors as people use them, with a software authenticator in the browser and an app for codes."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from jobs.models import Organization
from tests.browser.conftest import Browse, is_wider_than_the_window, keep, open_own_menu, sign_in, violations
from tests.one_time_codes import app_of, code_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

PASSWORD = "unused-password"


@pytest.fixture
def localhost(web_server: str) -> str:
    """The site under a name: a browser knows no passkeys of an address in numbers."""
    return f"http://localhost:{urlsplit(web_server).port}"


def with_authenticator(page: Page) -> str:
    """Put a device into the page's browser that keeps passkeys and knows its owner. Returns its id."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    return str(session.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"])


def confirm(page: Page) -> None:
    """Type the password a second time."""
    expect(page.get_by_role("heading", name="Confirm it’s you")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()


def sign_out(page: Page) -> None:
    page.goto("/account")
    open_own_menu(page).get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_passkey_is_made_and_signs_in_alone(browse: Browse, localhost: str, alice: User) -> None:
    page = browse(None, "/login", base_url=localhost)
    with_authenticator(page)
    sign_in(page, alice)
    page.goto("/account")
    page.get_by_role("link", name="Second factor").click()
    page.get_by_role("link", name="Add a passkey").click()
    confirm(page)
    page.get_by_label("Name").fill("Laptop")
    keep(page, "passkey-new")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert page.get_by_role("list", name="Recovery codes").get_by_role("listitem").count() == 10
    keep(page, "recovery-codes")
    page.get_by_role("link", name="I saved the codes").click()
    expect(page.get_by_text("Laptop")).to_be_visible()
    keep(page, "second-factor")
    assert violations(page) == []

    sign_out(page)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("button", name="alice", exact=True)).to_be_visible()

    # Beside the password it is the second step.
    sign_out(page)
    sign_in(page, alice)
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    keep(page, "second-step")
    assert violations(page) == []
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("button", name="alice", exact=True)).to_be_visible()


def test_without_a_passkey_the_page_says_what_happened(browse: Browse, localhost: str, alice: User) -> None:
    page = browse(None, "/login", base_url=localhost)
    with_authenticator(page)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("No passkey was used.")).to_be_visible()
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_who_must_have_one_is_led_to_an_app_and_gets_in_with_it(
    browse: Browse, localhost: str, alice: User, width: int, scheme: str
) -> None:
    Organization.objects.update(second_factor_required=True)
    viewport = {"width": width, "height": 844}
    page = browse(None, "/login?next=/queue", base_url=localhost, viewport=viewport, color_scheme=scheme)
    keep(page, f"sign-in-{width}-{scheme}")
    sign_in(page, alice)
    expect(page.get_by_role("alert")).to_contain_text("required by acme")
    keep(page, f"second-factor-demanded-{width}-{scheme}")
    assert not is_wider_than_the_window(page)
    assert violations(page) == []
    page.get_by_role("link", name="Set up an app").click()
    confirm(page)
    secret = page.locator("code.secret").inner_text()
    expect(page.get_by_alt_text(re.compile("The key as a picture"))).to_be_visible()
    keep(page, f"app-new-{width}-{scheme}")
    assert not is_wider_than_the_window(page)
    assert violations(page) == []
    page.get_by_label("Code from the app").fill(code_of(secret))
    page.get_by_role("button", name="Set up").click()
    keep(page, f"recovery-codes-{width}-{scheme}")
    assert not is_wider_than_the_window(page)
    page.get_by_role("link", name="I saved the codes").click()
    page.goto("/queue")
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()


def test_the_second_step_takes_the_code_of_the_app(browse: Browse, localhost: str, alice: User) -> None:
    secret = app_of(alice)
    page = browse(None, "/login", base_url=localhost, viewport={"width": 390, "height": 844})
    sign_in(page, alice)
    code = page.get_by_label("Code from your app")
    expect(code).to_be_focused()
    code.fill(code_of(secret))
    code.press("Enter")
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
