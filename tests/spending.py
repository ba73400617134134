"""Jobs that have cost something, on record in the ledger as the verbs put it there."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import ledger
from jobs.models import Job
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from tests.factories import make_job

NOON = time(12)


def spend(day: date, cost: str, **fields: Any) -> Job:
    """Make a job that ran for an hour at noon of `day` in its organization's zone, and completed."""
    organization = fields.get("organization")
    zone = ZoneInfo(organization.time_zone if organization else "UTC")
    start = datetime.combine(day, NOON, zone)
    defaults = {
        "status": JobStatus.COMPLETED,
        "started_at": start,
        "completed_at": start + timedelta(hours=1),
        "cost_usd": Decimal(cost),
    }
    job = make_job(**{**defaults, **fields})
    with unit_of_work():
        ledger.count([job])
    return job


def run(hold: str | None, spent: str = "0", **fields: Any) -> Job:
    """Make a job that the queue has claimed, holding `hold` (None: nobody can tell), of which `spent` is spent."""
    estimate = None if hold is None else Decimal(hold)
    job = make_job(status=JobStatus.RUNNING, started_at=timezone.now(), estimated_cost_usd=estimate, **fields)
    with unit_of_work():
        ledger.reserve([job])
    if Decimal(spent):
        job.cost_usd = Decimal(spent)
        job.save()
        with unit_of_work():
            ledger.count_snapshot(job, Snapshot("", JobStatus.RUNNING))
    return job
