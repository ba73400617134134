"""The CSV files of costs: every column, days of the organization, no formulas, as many rows as there are."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import ledger
from jobs.models import Job, LedgerEntry, Organization
from jobs.models.ledger import CostSource
from jobs.providers.figures import Basis
from jobs.roles import Role
from tests.factories import make_user
from tests.spending import spend

pytestmark = pytest.mark.django_db
Client = Callable[[User | None], APIClient]
COSTS, LEDGER = "/api/cloud/costs.csv", "/api/cloud/ledger.csv"
ALL_GROUPS = "day,organization,user,provider,hardware,config,job"
TOKYO = "Asia/Tokyo"
ROWS = 100_000


async def read_pieces(answer: Any, note: Callable[[str], object]) -> None:
    """Have `note` called with each piece of the file as it is sent."""
    async for piece in answer.streaming_content:
        note(piece.decode())


def table(answer: Any) -> list[dict[str, str]]:
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    text = io.StringIO()
    async_to_sync(read_pieces)(answer, text.write)
    text.seek(0)
    return list(csv.DictReader(text))


def run_over_midnight(organization: Organization, user: User) -> Job:
    """Make a job that ran from 23:00 to 01:00 of Tokyo's month end, at a price, and was corrected since."""
    started = datetime(2025, 11, 30, 14, 0, tzinfo=UTC)
    job = spend(
        date(2025, 11, 30),
        "0",
        organization=organization,
        submitted_by=user,
        provider="replicate",
        hardware_profile="h100",
        config_name="flux",
        started_at=started,
        completed_at=started + timedelta(hours=2),
    )
    for cost, source, by, reason in (
        ("7.2", CostSource.PRICE, "", ""),
        ("6.2", CostSource.PERSON, "maria", "The list was wrong."),
    ):
        job.cost_usd = Decimal(cost)
        job.save()
        basis = Basis(Decimal("0.001"), date(2025, 10, 1), source=source)
        with unit_of_work():
            ledger.count([job], {job.pk: basis}, by=by, **({"reason": reason} if reason else {}))
    return job


@pytest.fixture
def tokyo(acme: Organization) -> Organization:
    acme.time_zone = TOKYO
    acme.save()
    return acme


def test_the_costs_have_every_column_and_days_of_the_organization(
    client_of: Client, alice: User, tokyo: Organization
) -> None:
    start = datetime(2025, 11, 30, 14, 0, tzinfo=UTC)
    job = spend(
        date(2025, 11, 30),
        "7.2",
        organization=tokyo,
        submitted_by=alice,
        provider="replicate",
        hardware_profile="h100",
        config_name="flux",
        started_at=start,
        completed_at=start + timedelta(hours=2),
    )
    year = {"from": "2025-01-01", "to": "2025-12-31"}
    shared = {
        "SubAccountName": "acme",
        "x_User": "alice",
        "ProviderName": "replicate",
        "ServiceName": "h100",
        "x_Config": "flux",
        "ResourceId": job.pk,
        "BilledCost": "3.600000",
        "BillingCurrency": "USD",
        "x_UnpricedJobs": "0",
    }
    rows = table(client_of(alice).get(COSTS, {"group": ALL_GROUPS, **year}))
    assert rows == [{"ChargePeriodStart": day, **shared} for day in ("2025-11-30", "2025-12-01")]
    november = table(client_of(alice).get(COSTS, {"group": "organization", "from": "2025-11-01", "to": "2025-11-30"}))
    assert [row["BilledCost"] for row in november] == ["3.600000"]


def test_the_ledger_has_every_column(client_of: Client, alice: User, tokyo: Organization) -> None:
    job = run_over_midnight(tokyo, alice)
    rows = table(client_of(alice).get(LEDGER, {"from": "2025-01-01", "to": "2026-12-31"}))
    ids = [str(pk) for pk in LedgerEntry.objects.order_by("pk").values_list("pk", flat=True)]
    assert [row["x_EntryId"] for row in rows] == ids
    correction = rows[-1]
    entry = LedgerEntry.objects.latest("pk")
    assert correction == {
        "x_EntryId": ids[-1],
        "ResourceId": job.pk,
        "x_Sequence": str(entry.sequence),
        "ChargeCategory": "correct",
        "BilledCost": "-1.000000",
        "ChargePeriodStart": entry.at.astimezone(UTC).isoformat(),
        "x_Day": "2025-12-01",
        "x_BillingPeriod": "2025-12",
        "SubAccountName": "acme",
        "x_User": "alice",
        "ProviderName": "replicate",
        "ServiceName": "h100",
        "PricingQuantity": "-1000.0",
        "ListUnitPrice": "0.0010000000",
        "x_PricedOn": "2025-10-01",
        "x_Source": "person",
        "x_By": "maria",
        "x_Reason": "The list was wrong.",
    }
    spent: dict[str, Decimal] = {}
    for row in rows:
        if row["ChargeCategory"] in ("accrue", "settle", "correct"):
            spent[row["x_Day"]] = spent.get(row["x_Day"], Decimal(0)) + Decimal(row["BilledCost"])
    by_day = table(client_of(alice).get(COSTS, {"from": "2025-01-01", "to": "2026-12-31"}))
    assert spent == {row["ChargePeriodStart"]: Decimal(row["BilledCost"]) for row in by_day}
    assert sum(spent.values()) == job.cost_usd


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\uff1d"])
def test_no_text_begins_as_a_formula_and_every_number_stays_one(
    client_of: Client, acme: Organization, sign: str
) -> None:
    user = make_user("@SUM(1)", acme, Role.VIEWER)
    job = spend(
        date(2025, 11, 10), "2", organization=acme, submitted_by=user, config_name=f"{sign}1+1", hardware_profile="-h"
    )
    job.cost_usd = Decimal(1)
    job.save()
    with unit_of_work():
        ledger.count([job], by=f"{sign}cmd", reason=f"{sign}1|A0")
    november = {"from": "2025-11-01", "to": "2025-11-30"}
    [costs] = table(client_of(user).get(COSTS, {"group": ALL_GROUPS, **november}))
    assert costs["x_Config"] == f"'{sign}1+1"
    *_, correction = table(client_of(user).get(LEDGER, november))
    assert (correction["x_By"], correction["x_Reason"]) == (f"'{sign}cmd", f"'{sign}1|A0")
    assert correction["BilledCost"] == "-1.000000"
    assert {costs["x_User"], correction["x_User"]} == {"'@SUM(1)"}
    assert {costs["ServiceName"], correction["ServiceName"]} == {"'-h"}


def test_by_default_the_month_ends_today_where_the_organization_is(
    client_of: Client, alice: User, acme: Organization
) -> None:
    # From 10:00 UTC on its day is a day ahead; before, the other zone's is a day behind.
    acme.time_zone = "Pacific/Kiritimati" if timezone.now().hour >= 10 else "Etc/GMT+12"
    acme.save()
    now = timezone.now()
    spend(now.date(), "3", organization=acme, submitted_by=alice, started_at=now, completed_at=now)
    today = str(now.astimezone(ZoneInfo(acme.time_zone)).date())
    answer = client_of(alice).get("/api/cloud/costs", {"group": "day"}).json()
    assert [(row["day"], row["spent_usd"]) for row in answer["rows"]] == [(today, 3)]
    assert answer == client_of(alice).get("/api/cloud/costs", {"group": "day", "to": today}).json()


@pytest.mark.slow
def test_a_hundred_thousand_entries_are_sent_with_the_memory_of_a_few(
    client_of: Client, alice: User, acme: Organization
) -> None:
    spend(date(2025, 11, 10), "2", organization=acme, submitted_by=alice)
    fields = [field.attname for field in LedgerEntry._meta.concrete_fields]
    columns = ", ".join(name for name in fields if name not in ("id", "sequence"))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS}) "
            f"INSERT INTO jobs_ledgerentry (sequence, {columns}) SELECT n, {columns} FROM numbers, "
            "(SELECT * FROM jobs_ledgerentry WHERE sequence = 1) AS first"
        )
    answer = client_of(alice).get(LEDGER, {"from": "2025-11-01", "to": "2025-11-30"})
    sizes, lines = list[int](), list[int]()

    def note(piece: str) -> None:
        sizes.append(len(piece))
        lines.append(piece.count("\n"))

    tracemalloc.start()
    async_to_sync(read_pieces)(answer, note)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(lines) == ROWS + 1
    assert max(sizes) < 500_000
    assert sum(sizes) > 8_000_000
    assert peak < 6_000_000, "of a file larger than that"
