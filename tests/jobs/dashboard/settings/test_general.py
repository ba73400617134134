"""The general settings of an organization, and the page of a new job that begins with them."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Membership, Organization
from jobs.roles import Role
from tests.factories import make_user
from tests.settings_pages import ACME, browser_of, send, stamp_in, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
GENERAL = f"{ACME}/general"
FIELDS: dict[str, Any] = {"time_zone": "Asia/Tokyo", "default_provider": "replicate", "default_hardware": "l40s"}


@pytest.fixture
def maria(acme: Organization) -> User:
    return make_user("maria", acme, Role.ADMIN)


def test_an_admin_changes_them_and_it_is_on_record(maria: User, acme: Organization) -> None:
    Authenticator.objects.create(user=maria, type=Authenticator.Type.TOTP, data={})
    browser = browser_of(maria)
    page = send(browser, GENERAL, **FIELDS, second_factor_required="on")
    assert "Settings saved." in text_of(page)
    acme.refresh_from_db()
    assert (acme.time_zone, acme.default_provider, acme.default_hardware) == ("Asia/Tokyo", "replicate", "l40s")
    assert acme.second_factor_required
    assert AuditRecord.objects.get(action="settings_changed").actor == "maria"
    assert "No changes." in text_of(send(browser, GENERAL, **FIELDS, second_factor_required="on"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"time_zone": "Moon/Crater"}, "Select a valid choice."),
        ({"time_zone": ""}, "This field is required."),
        ({"default_provider": "nowhere"}, "Select a valid choice."),
        ({"default_provider": ""}, "local has no “l40s”."),
    ],
)
def test_a_bad_value_is_named_and_changes_nothing(
    maria: User, acme: Organization, fields: dict[str, str], sentence: str
) -> None:
    page = send(browser_of(maria), GENERAL, **{**FIELDS, **fields})
    assert page.status_code == 400
    assert sentence in text_of(page)
    acme.refresh_from_db()
    assert acme.time_zone == "UTC"


def test_a_page_that_is_out_of_date_overwrites_nothing(maria: User, acme: Organization) -> None:
    browser = browser_of(maria)
    stamp = stamp_in(browser, GENERAL)
    Organization.objects.update(time_zone="Europe/Berlin")
    page = browser.post(GENERAL, {**FIELDS, "stamp": stamp}, follow=True)
    assert "Somebody else changed this after you opened the page." in text_of(page)
    acme.refresh_from_db()
    assert acme.time_zone == "Europe/Berlin"


def test_a_default_that_is_gone_can_be_kept_and_replaced(maria: User, acme: Organization) -> None:
    Organization.objects.update(default_provider="old-cluster", default_hardware="old-gpu")
    browser = browser_of(maria)
    page = text_of(browser.get(GENERAL))
    assert "old-cluster (gone)" in page and "old-gpu" in page
    send(browser, GENERAL, **FIELDS)
    acme.refresh_from_db()
    assert acme.default_provider == "replicate"


def test_a_new_job_begins_with_them(alice: User, acme: Organization) -> None:
    Organization.objects.update(default_provider="replicate", default_hardware="l40s")
    page = browser_of(alice).get("/jobs/new").content.decode()
    assert "{&quot;acme&quot;: {&quot;provider&quot;: &quot;replicate&quot;, &quot;hardware&quot;: &quot;l40s" in page


def test_a_closed_organization_is_no_choice_there(alice: User, acme: Organization) -> None:
    Organization.objects.update(closed_at=timezone.now())
    page = browser_of(alice).get("/jobs/new")
    assert page.status_code == 403
    sentence = "acme is closed and accepts no jobs. A superuser can reopen it."
    assert sentence in text_of(page)
    jobs = browser_of(alice).get("/")
    assert sentence in text_of(jobs) and "/jobs/new" not in jobs.content.decode()
    Membership.objects.create(user=alice, organization=Organization.objects.create(name="labs"), role=Role.RESEARCHER)
    assert browser_of(alice).get("/jobs/new").status_code == 200
    assert "/jobs/new" in browser_of(alice).get("/").content.decode()
