"""The history of an organization, and the audit record of the site: filters, pages, and who sees what."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import Subject, record
from jobs.models import Organization
from jobs.roles import Role
from tests.factories import make_user
from tests.settings_pages import ACME, browser_of, text_of
from tests.web import body_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
HISTORY = f"{ACME}/history"


@pytest.fixture
def maria(acme: Organization) -> User:
    return make_user("maria", acme, Role.ADMIN)


def note(by: User, organization: Organization | None, name: str, action: str = "limit_changed", **fields: Any) -> None:
    subject = Subject("limit", "1", name)
    record(action, subject, by=by, organization=organization, **fields)


def test_it_says_who_changed_what_from_what_to_what(maria: User, acme: Organization) -> None:
    note(maria, acme, "max running", before={"max_running": None, "gone": 1}, after={"max_running": 3, "new": "<b>"})
    note(maria, acme, "invitation", after={"expires_at": datetime(2026, 12, 7, 4, 28, 16, 590000, UTC)})
    page = text_of(browser_of(maria).get(HISTORY))
    assert "maria Changed a limit : max running Gone: 1, removed Max running: none → 3 New: <b> command" in page
    assert "Expires: 7 Dec 2026, 04:28 UTC" in page


def test_others_changes_are_not_in_it(maria: User, acme: Organization, charlie: User, root: User) -> None:
    note(charlie, Organization.objects.get(name="other"), "theirs", action="their_action")
    note(root, None, "of-the-site", action="site_action")
    browser = browser_of(maria)
    for page in (text_of(browser.get(HISTORY)), body_of(browser.get(f"{HISTORY}.csv")).decode()):
        assert not any(text in page.lower() for text in ("theirs", "their", "of-the-site", "site action", "charlie"))
    assert "No changes yet." in text_of(browser.get(HISTORY))
    audit = text_of(browser_of(root).get("/site/audit"))
    assert "theirs" in audit and "of-the-site" in audit


def test_filters_narrow_it_down(maria: User, alice: User, acme: Organization) -> None:
    note(maria, acme, "first")
    note(alice, acme, "second", action="rule_stored")
    browser = browser_of(maria)
    for query, shown, hidden in (
        ("actor=alice", "second", "first"),
        ("action=limit_changed", "first", "second"),
        ("actor=nobody", "No changes match these filters.", "first"),
        ("source=api", "No changes match these filters.", "second"),
    ):
        page = text_of(browser.get(f"{HISTORY}?{query}"))
        assert shown in page and f": {hidden}" not in page, query
    rows = list(csv.DictReader(body_of(browser.get(f"{HISTORY}.csv?actor=alice")).decode().splitlines()))
    assert [row["subject"] for row in rows] == ["second"]


def test_days_are_those_of_the_organization(maria: User, acme: Organization) -> None:
    Organization.objects.filter(pk=acme.pk).update(time_zone="Asia/Tokyo")
    note(maria, acme, "by-night")
    at = datetime(2026, 3, 1, 20, tzinfo=UTC)  # the second of March in Tokyo
    AuditRecord(**{**AuditRecord.objects.values().get(), "id": None, "at": at, "subject": "in-march"}).save()
    browser = browser_of(maria)
    for query, is_shown in (
        ("since=2026-03-02&until=2026-03-02", True),
        ("until=2026-03-01", False),
        ("since=2026-03-03&until=2026-03-09", False),
        ("since=0001-01-01&until=9999-12-31", True),
    ):
        page = text_of(browser.get(f"{HISTORY}?{query}"))
        assert ("in-march" in page) is is_shown, query
        assert "Days are those of Asia/Tokyo." in page


@pytest.mark.parametrize(
    "query", ["since=yesterday", "cursor=x", "cursor=0", "action=never_done", "source=x", "actor=%00"]
)
def test_what_can_not_be_understood_is_said(maria: User, acme: Organization, query: str) -> None:
    note(maria, acme, "first")
    page = browser_of(maria).get(f"{HISTORY}?{query}")
    assert page.status_code == 400
    assert ": first" not in text_of(page)


def test_a_page_has_fifty(maria: User, acme: Organization) -> None:
    for number in range(51):
        note(maria, acme, f"change-{number:02}")
    browser = browser_of(maria)
    page = browser.get(f"{HISTORY}?actor=maria")
    assert text_of(page).count("change-") == 50
    assert "change-00" not in text_of(page)
    older = f"?actor=maria&amp;cursor={AuditRecord.objects.order_by('pk')[1].pk}"
    assert f'href="{older}"' in page.content.decode()
    second = text_of(browser.get(HISTORY + older.replace("&amp;", "&")))
    assert second.count("change-") == 1 and "change-00" in second and "Newest" in second


def test_formulas_are_texts_in_the_file(maria: User, acme: Organization) -> None:
    note(maria, acme, "=HYPERLINK(0)")
    answer = browser_of(maria).get(f"{HISTORY}.csv")
    assert answer["Content-Disposition"] == 'attachment; filename="acme-history.csv"'
    assert "'=HYPERLINK(0)" in body_of(answer).decode()


@pytest.mark.parametrize("address", ["/site", "/site/audit", "/site/audit.csv"])
def test_the_sites_audit_is_for_superusers(maria: User, root: User, address: str) -> None:
    page = browser_of(maria).get(address)
    assert page.status_code == 403
    assert "Only superusers can see this page." in text_of(page)
    assert browser_of(root).get(address, follow=True).status_code == 200
    assert browser_of(None).get(address)["Location"] == f"/login?next={address}"


def test_superusers_are_led_there(maria: User, root: User) -> None:
    assert 'href="/site"' in browser_of(root).get("/").content.decode()
    assert 'href="/site"' not in browser_of(maria).get("/").content.decode()


def test_a_long_value_is_cut(maria: User, acme: Organization) -> None:
    note(maria, acme, "long", after={"text": "x" * 300})
    page = text_of(browser_of(maria).get(HISTORY))
    assert "x" * 200 + "…" in page and "x" * 201 not in page


def test_a_record_of_yesterday_is_not_of_today(maria: User, acme: Organization) -> None:
    note(maria, acme, "now")
    yesterday = (timezone.now() - timedelta(days=1)).date()
    assert ": now" not in text_of(browser_of(maria).get(f"{HISTORY}?until={yesterday}"))
