"""An organization's service accounts in a real browser: made, given a key, removed."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from cloudtrain_site.models import ApiKey
from jobs.models import Organization, ServiceAccount
from jobs.roles import Role
from tests.browser.conftest import Browse, is_wider_than_the_window, keep, sticking_out, violations
from tests.factories import make_user

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def maria(acme: Organization) -> User:
    """The admin of acme."""
    return make_user("maria", acme, Role.ADMIN)


def test_an_admin_gives_a_program_a_key_and_takes_it_back(browse: Browse, maria: User) -> None:
    page = browse(maria, "/organizations/acme/settings/service-accounts", reduced_motion="reduce")
    expect(page.get_by_text("No service accounts yet.")).to_be_visible()
    page.get_by_label("Name").fill("nightly")
    page.get_by_role("button", name="Create service account").click()
    expect(page.get_by_text("The service account nightly was created.")).to_be_visible()
    page.get_by_label("Name").fill("the build server")
    page.get_by_role("button", name="Create key").click()
    key = page.get_by_label("The new key").input_value()
    assert ApiKey.objects.get().user == ServiceAccount.objects.get().user
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"service-account-{scheme}")
    page.set_viewport_size({"width": 390, "height": 800})
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []
    keep(page, "service-account-phone")
    page.reload()
    assert key not in page.content()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_text("Key revoked.")).to_be_visible()
    page.get_by_role("link", name="Service accounts").click()
    keep(page, "service-accounts-phone")
    page.get_by_role("link", name="nightly").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Remove service account").click()
    expect(page.get_by_text("The service account nightly was removed")).to_be_visible()
    assert violations(page) == []
