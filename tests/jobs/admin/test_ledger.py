"""The ledger in the admin: found by job, filtered, changed by nobody."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from jobs.models import LedgerEntry, Organization
from tests.settings_pages import text_of
from tests.spending import run, spend
from tests.web import queries_of, read_page

pytestmark = pytest.mark.django_db
LIST = "/admin/jobs/ledgerentry/"


def shown(user: User, query: str = "") -> int:
    """Return how many entries the list has."""
    return read_page(user, LIST + query).count('class="field-amount')


def test_entries_are_found_by_job_kind_day_and_provider(acme: Organization, alice: User, root: User) -> None:
    old = spend(date(2025, 11, 12), "3", organization=acme, submitted_by=alice)
    spend(timezone.now().date() - timedelta(days=2), "4", organization=acme, provider="replicate")
    run("5", organization=acme)
    assert shown(root) == 3
    assert shown(root, f"?q={old.pk}") == shown(root, f"?q={old.pk.upper()}") == 1
    assert shown(root, "?q=nothing") == 0
    assert shown(root, "?kind__exact=settle") == 2
    assert shown(root, "?days=7") == 2
    assert shown(root, "?days=7&provider=replicate") == 1
    assert shown(root, f"?organization__id__exact={acme.pk}") == 3


def test_who_manages_sees_the_own_organization_alone(acme: Organization, bob: User, charlie: User, alice: User) -> None:
    spend(date(2025, 11, 12), "3", organization=acme)
    assert (shown(bob), shown(charlie)) == (1, 0)
    client = Client()
    client.force_login(charlie)
    assert client.get(f"{LIST}{LedgerEntry.objects.get().pk}/change/").status_code == 302
    client.force_login(alice)
    assert client.get(LIST, follow=True).status_code == 403


def test_a_cost_over_midnight_says_so_in_the_first_days_entry(acme: Organization, root: User, client: Client) -> None:
    acme.time_zone = "Europe/Berlin"
    acme.save()
    start = datetime(2025, 11, 12, 22, 30, tzinfo=UTC)
    spend(start.date(), "3", organization=acme, started_at=start, completed_at=start + timedelta(hours=1))
    client.force_login(root)
    entries = text_of(client.get(LIST))
    assert "Settle, 13 Nov 2025 $1.50" in entries and "Settle, 12 Nov 2025 $1.50" in entries
    assert entries.count("The part until midnight") == 1


def test_nobody_changes_an_entry(acme: Organization, root: User) -> None:
    spend(date(2025, 11, 12), "3", organization=acme)
    entry = LedgerEntry.objects.get()
    client = Client()
    client.force_login(root)
    assert client.get(f"{LIST}{entry.pk}/change/").status_code == 200
    for address in (f"{LIST}{entry.pk}/change/", f"{LIST}{entry.pk}/delete/", f"{LIST}add/"):
        assert client.post(address, {"amount": "1", "post": "yes"}).status_code == 403
    assert LedgerEntry.objects.get().amount == entry.amount


def test_more_entries_cost_no_more_queries(acme: Organization, root: User, client: Client) -> None:
    client.force_login(root)
    counts = []
    for day in (1, 2, 3):
        for _ in range(day * 2):
            spend(date(2025, 11, day), "3", organization=acme)
        counts.append(queries_of(client, LIST))
    assert len(set(counts)) == 1
