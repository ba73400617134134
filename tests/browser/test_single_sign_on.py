"""Single sign-on in a browser, at a provider from the package index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from jobs.models import Membership, Organization
from tests.browser.conftest import Browse, is_wider_than_the_window, keep, violations

pytestmark = [
    *(pytest.mark.browser, pytest.mark.slow, pytest.mark.long),
    # The provider's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def at_provider(page: Page) -> None:
    """Sign in at the provider as Vera, whose page wants a style sheet from elsewhere: it gets an empty one."""
    page.route(re.compile("^https://"), lambda route: route.fulfill(body="", content_type="text/css"))
    page.get_by_role("link", name="Sign in with Example").click()
    page.get_by_role("button", name="vera-17").click()


VERA = {
    "email": "vera@example.org",
    "email_verified": True,
    "preferred_username": "vera",
    "name": "Vera Vogel",
    "groups": ["ml-all"],
}


@pytest.fixture
def issuer() -> Iterator[str]:
    """A provider that knows Vera."""
    import oidc_provider_mock

    people = [oidc_provider_mock.User(sub="vera-17", claims=VERA)]
    with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def configured(issuer: str, write_config: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSO_SECRET", "not-a-real-secret")
    write_config(
        "\n".join(
            [
                "sso:",
                f"  issuer: {issuer}",
                "  client_id: cloudtrain",
                "  client_secret: ${SSO_SECRET}",
                "  domains: [example.org]",
                "  label: Sign in with Example",
                "  groups:",
                "    ml-all: {organization: acme, role: researcher}",
                "",
            ]
        )
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_first_sign_in_leads_to_the_page_that_was_asked_for(
    browse: Browse, configured: None, acme: Organization, width: int, scheme: str
) -> None:
    page = browse(None, "/jobs/new", viewport={"width": width, "height": 844}, color_scheme=scheme)
    keep(page, f"sign-in-sso-{width}-{scheme}")
    assert not is_wider_than_the_window(page)
    assert violations(page) == []
    at_provider(page)
    expect(page.get_by_role("button", name="vera", exact=True)).to_be_visible()
    assert page.url.endswith("/jobs/new")
    assert Membership.objects.get().role == "researcher"
    assert SocialAccount.objects.get().uid == "vera-17"
    page.goto("/account")
    expect(page.get_by_text("Connected to")).to_be_visible()
    keep(page, f"account-sso-{width}-{scheme}")
    assert not is_wider_than_the_window(page)
    assert violations(page) == []


def test_who_is_not_let_in_reads_why(browse: Browse, configured: None, complaints: list[str]) -> None:
    User.objects.create_superuser("root", "vera@example.org", "unused-password")
    page = browse(None, "/login", viewport={"width": 390, "height": 844})
    at_provider(page)
    expect(page.get_by_role("alert")).to_contain_text("can't be connected by the address alone")
    keep(page, "sso-refused")
    assert violations(page) == []
    assert not SocialAccount.objects.exists()
    complaints.clear()  # the browser complains about the 403
