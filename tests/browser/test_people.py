"""The removal of a person in a real browser."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from cloudtrain_site.models import ApiKey
from tests.browser.conftest import Browse, is_wider_than_the_window, keep, sticking_out, violations
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


def test_a_superuser_sees_what_goes_and_removes_a_person(browse: Browse, root: User, alice: User) -> None:
    ApiKey.objects.create(user=alice, name="laptop")
    make_job(submitted_by=alice, organization=alice.memberships.get().organization, status="completed")
    page = browse(root, f"/site/people/{alice.pk}", reduced_motion="reduce")
    page.get_by_role("link", name="Remove the person").click()
    expect(page.get_by_text(f"former member {alice.pk}").first).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"removal-{scheme}")
    page.set_viewport_size({"width": 390, "height": 800})
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []
    keep(page, "removal-phone")
    page.get_by_role("button", name="Remove the person").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the person").click()
    expect(page.get_by_text(f"is now called former member {alice.pk}.")).to_be_visible()
    alice.refresh_from_db()
    assert (alice.email, alice.is_active) == ("", False)
