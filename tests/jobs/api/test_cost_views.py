"""Costs over HTTP: grouped, as CSV, and the raw entries; nobody sees what others spent."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from jobs import lifecycle
from jobs.costs import ledger
from jobs.models import Job
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
Client = Callable[[User | None], APIClient]
COSTS, CSV, LEDGER = "/api/cloud/costs", "/api/cloud/costs.csv", "/api/cloud/ledger.csv"


def spent(make_job: MakeJob, cost: str, **fields: Any) -> Job:
    began = timezone.now() - timedelta(seconds=1)
    job = make_job(status="running", external_id=f"x-{cost}", started_at=began, **fields)
    lifecycle.apply_snapshot(
        job, Snapshot(f"x-{cost}", JobStatus.COMPLETED, cost_usd=Decimal(cost)), source=Source.POLL
    )
    return job


def table(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(async_to_sync(body_of)(answer))))


async def body_of(answer: Any) -> str:
    return b"".join([piece async for piece in answer.streaming_content]).decode()


def test_what_was_spent_is_added_up_by_group(client_of: Client, alice: User, make_job: MakeJob) -> None:
    spent(make_job, "3.5", hardware_profile="h100")
    spent(make_job, "1.5", hardware_profile="h100")
    spent(make_job, "2", hardware_profile="cpu")
    ledger.reserve([make_job(estimated_cost_usd=Decimal(9))])
    answer = client_of(alice).get(COSTS, {"group": "user,hardware"}).json()
    assert answer["rows"] == [
        {"user": "alice", "hardware": "cpu", "spent_usd": 2, "unpriced_jobs": 0},
        {"user": "alice", "hardware": "h100", "spent_usd": 5, "unpriced_jobs": 0},
    ]
    assert answer["totals"] == {"spent_usd": 7, "held_usd": 9, "committed_usd": 16}


def test_by_default_it_is_this_month_by_day(client_of: Client, alice: User, make_job: MakeJob) -> None:
    spent(make_job, "3")
    today = timezone.now().date()
    answer = client_of(alice).get(COSTS).json()
    assert [date.fromisoformat(row["day"]) for row in answer["rows"]][-1] == today
    last_month = today.replace(day=1) - timedelta(days=1)
    earlier = {"from": str(last_month - timedelta(days=3)), "to": str(last_month - timedelta(days=2))}
    assert client_of(alice).get(COSTS, earlier).json()["rows"] == []


def test_others_see_nothing_of_it(client_of: Client, alice: User, charlie: User, make_job: MakeJob) -> None:
    spent(make_job, "3")
    assert client_of(charlie).get(COSTS).json() == {
        "rows": [],
        "totals": {"spent_usd": 0, "held_usd": 0, "committed_usd": 0},
    }
    assert table(client_of(charlie).get(CSV)) == table(client_of(charlie).get(LEDGER)) == []
    for address in (COSTS, CSV, LEDGER):
        assert client_of(charlie).get(address, {"organization": "acme"}).status_code == 400
        assert client_of(alice).get(address, {"organization": "acme"}).status_code == 200


def test_a_cost_that_nobody_can_tell_is_counted_and_not_nothing(
    client_of: Client, alice: User, make_job: MakeJob
) -> None:
    job = make_job(status="running", external_id="x-1", started_at=timezone.now())
    ended = Snapshot("x-1", JobStatus.COMPLETED, cost_doubt="there is no price for cpu.")
    lifecycle.apply_snapshot(job, ended, source=Source.POLL)
    assert client_of(alice).get(COSTS, {"group": "organization"}).json()["rows"] == [
        {"organization": "acme", "spent_usd": 0, "unpriced_jobs": 1}
    ]


def test_the_csv_has_the_same_and_no_formulas(client_of: Client, alice: User, make_job: MakeJob) -> None:
    spent(make_job, "3.5", config_name="=HYPERLINK(1)")
    [row] = table(client_of(alice).get(CSV, {"group": "organization,config"}))
    assert row == {
        "SubAccountName": "acme",
        "x_Config": "'=HYPERLINK(1)",
        "BilledCost": "3.500000",
        "BillingCurrency": "USD",
        "x_UnpricedJobs": "0",
    }


def test_the_ledgers_entries_come_as_they_are(client_of: Client, alice: User, make_job: MakeJob) -> None:
    job = make_job(status="running", external_id="x-1", started_at=timezone.now(), estimated_cost_usd=Decimal(9))
    ledger.reserve([job])
    lifecycle.apply_snapshot(job, Snapshot("x-1", JobStatus.COMPLETED, cost_usd=Decimal("3.5")), source=Source.POLL)
    rows = table(client_of(alice).get(LEDGER))
    assert [(row["ResourceId"], row["ChargeCategory"], row["BilledCost"]) for row in rows] == [
        (job.pk, "reserve", "9.000000"),
        (job.pk, "settle", "3.500000"),
        (job.pk, "release", "-9.000000"),
    ]
    assert {(row["SubAccountName"], row["x_User"], row["x_Source"]) for row in rows[1:2]} == {
        ("acme", "alice", "provider")
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"group": "moon"}, "group"),
        ({"from": "soon"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
        ({"surprise": "1"}, "surprise"),
    ],
)
def test_a_bad_query_is_named(client_of: Client, alice: User, query: dict[str, str], field: str) -> None:
    answer = client_of(alice).get(COSTS, query)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_prometheus_has_spent_held_and_the_burn_rate(client_of: Client, alice: User, make_job: MakeJob) -> None:
    spent(make_job, "3")
    ledger.reserve([make_job(estimated_cost_usd=Decimal(9))])
    began = timezone.now() - timedelta(minutes=30)
    make_job(status="running", external_id="x-9", started_at=began, cost_usd=Decimal(4))
    text = client_of(alice).get("/api/cloud/metrics/prometheus").content.decode()
    assert 'cloudtrain_held_usd{organization="acme",provider="local"} 9.0' in text
    assert 'cloudtrain_spent_usd{organization="acme",provider="local"}' in text
    assert 'cloudtrain_burn_usd_per_hour{organization="acme",provider="local"} 7.9' in text
