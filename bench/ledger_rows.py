"""A year of a ledger: jobs with their entries, accounts and days, as the verbs would have left them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

#: An accrual and a release each minute: a training of 25 minutes.
ENTRIES_A_JOB = 50
DAYS = 365
JOBS_PER_ROUND = 500
HARDWARE = ("gpu-t4", "gpu-l40s", "gpu-a100", "gpu-h100")
PROVIDERS = ("replicate", "slurm", "local")
PRICE = Decimal("0.0014")
A_MINUTE = Decimal("0.084")
MINUTE = timedelta(minutes=1)


def first_day(today: date) -> date:
    return today - timedelta(days=DAYS - 1)


def make_year(count: int, users: list[int], organizations: list[int]) -> None:
    """Write `count` entries whose jobs begin evenly spread over the last year, everybody's in turn."""
    from jobs.models import DayCost, Job, JobAccount, LedgerEntry

    jobs = count // ENTRIES_A_JOB
    begin = datetime.combine(first_day(datetime.now(UTC).date()), datetime.min.time(), UTC)
    step = timedelta(days=DAYS - 1) / jobs
    for first in range(0, jobs, JOBS_PER_ROUND):
        rows: dict[type, list[Any]] = defaultdict(list)
        for number in range(first, min(first + JOBS_PER_ROUND, jobs)):
            for row in _rows_of_job(number, begin + number * step, users, organizations):
                rows[type(row)].append(row)
        for model in (Job, JobAccount, LedgerEntry, DayCost):
            model.objects.bulk_create(rows[model], batch_size=1000)
    for sequence in range(3, ENTRIES_A_JOB + 1):
        _repeat_entries(sequence)


def _rows_of_job(number: int, began: datetime, users: list[int], organizations: list[int]) -> Iterator[Any]:
    """Yield a job, its account, its days and its first two entries."""
    from jobs.models import DayCost, Job, JobAccount, LedgerEntry

    name, minutes = f"config-{number % 200}", ENTRIES_A_JOB // 2
    spent, ended = A_MINUTE * minutes, began + minutes * MINUTE
    common: dict[str, Any] = {
        "organization_id": organizations[number % len(organizations)],
        "user_id": users[number % len(users)],
        "provider": PROVIDERS[number % len(PROVIDERS)],
        "hardware": HARDWARE[number % len(HARDWARE)],
    }
    job = Job(
        id=f"01ledger{number:018d}",
        organization_id=common["organization_id"],
        submitted_by_id=common["user_id"],
        provider=common["provider"],
        hardware_profile=common["hardware"],
        config_name=name,
        correlation_id="bench",
        status="completed",
        created_at=began,
        started_at=began,
        completed_at=ended,
        duration_ms=minutes * 60_000,
        cost_usd=spent,
        estimated_cost_usd=spent * (80 + number % 50) / 100,
    )
    yield job
    yield JobAccount(job=job, **common, spent=spent, entries=ENTRIES_A_JOB, settled_at=ended)
    for sequence, kind, amount in ((1, "accrue", A_MINUTE), (2, "release", -A_MINUTE)):
        basis = {"seconds": 60.0, "per_second": PRICE, "source": "price"}
        yield LedgerEntry(
            job=job, **common, sequence=sequence, kind=kind, amount=amount, at=began, day=began.date(), **basis
        )
    yield DayCost(job=job, **common, day=began.date(), spent=spent, config_name=name, is_unpriced=number % 100 == 7)


def _repeat_entries(sequence: int) -> None:
    """Copy each job's first or second entry, in the database: to make a million rows here takes minutes."""
    from django.db import connection

    from jobs.models import LedgerEntry

    columns = [field.column for field in LedgerEntry._meta.concrete_fields if field.column not in ("id", "sequence")]
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO jobs_ledgerentry (sequence, {names}) SELECT {sequence}, {names} FROM jobs_ledgerentry "
            f"WHERE sequence = {1 if sequence % 2 else 2} ORDER BY id"
        )
