"""The ledger: the page of costs and the CSV over a million entries, what budgets add to a pass, accruing to a poll.

    python -m bench.bench_ledger [--on sqlite,postgresql] [--entries 1000000] [--waiting 100000] [--running 1000]

The entries are of 50 organizations over 12 months, 50 of each job. The page, as its server makes it from the request to
the last byte, is a superuser's, of all organizations; its baseline adds up the entries by day and group alone. The
CSV's baseline reads each entry as an object (the first 50,000). Budgets: one of the site, of each organization, and of
each person in ten of them; the baseline is the same pass without a budget. Accruing: each poll finds that every running
job has cost more; the baseline is the same poll without a ledger. Times are those of the processor, here and in the
database, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.crowd import ORGANIZATIONS, InstantProvider, add_provider, make_people, make_waiting, set_limits
from bench.database import database
from bench.ledger_rows import first_day, make_year
from bench.stack import ROOT, Figure, print_table

ROUNDS, FREE = 7, 100
PAGE_MS, ROWS_A_SECOND, GROWTH_MB, PASS_MS, POLL_MS = 60, 20_000, 20, 5, 150
GROUPS = ("organization", "user", "provider", "hardware")
COLUMNS = {"organization": "organization_id", "user": "user_id", "provider": "provider", "hardware": "hardware"}
OBJECTS = 50_000
PRICED = "gpu-h100"


def ms(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the processor time of `action`, here and in the database, on average; it is done once before."""
    action()
    # A collection of what was made before would take 100 ms of one of the rounds.
    gc.collect()
    gc.freeze()
    began = cpu_seconds()
    for _ in range(rounds):
        action()
    return (cpu_seconds() - began) * 1000 / rounds


def cpu_seconds() -> float:
    """Return the processor time so far of this process and of the database's, which on SQLite is the same."""
    from django.db import connection

    own = time.process_time()
    if connection.vendor != "postgresql":
        return own
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    after_name = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
    return own + sum(int(ticks) for ticks in after_name[11:13]) / os.sysconf("SC_CLK_TCK")


def measure_page(kind: str) -> list[Figure]:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser("bench-root", "", "unused-password"))
    today = datetime.now(UTC).date()
    month, year = f"month={today - timedelta(days=today.day):%Y-%m}", f"from={first_day(today)}&to={today}"

    def page(query: str) -> Callable[[], None]:
        def get() -> None:
            if client.get(f"/spend?{query}").status_code != 200:
                raise SystemExit(f"/spend?{query} was refused")

        return get

    figures = []
    for name, query, start in (
        ("last month", month, today.replace(day=1) - timedelta(days=31)),
        ("a year", year, None),
    ):
        for group in GROUPS:
            baseline = ms(lambda group=group, start=start: sum_of_entries(group, start or first_day(today)), 1)
            shown = ms(page(f"{query}&group={group}"))
            figures.append(Figure(f"{kind}: Spend of {name} by {group}", shown, "ms", baseline, PAGE_MS))
    one = ms(page(f"{month}&group=user&organization=org-7"))
    return [*figures, Figure(f"{kind}: Spend of one organization", one, "ms", target=PAGE_MS)]


def sum_of_entries(group: str, start: date) -> object:
    """Add up by day and group without sums that are kept."""
    from django.db.models import Sum

    from jobs.models import LedgerEntry
    from jobs.models.ledger import SPENT_KINDS

    entries = LedgerEntry.objects.filter(kind__in=SPENT_KINDS, day__gte=start).order_by()
    return list(entries.values_list("day", COLUMNS[group]).annotate(Sum("amount")))


def measure_csv(kind: str) -> list[Figure]:
    from django.contrib.auth.models import User

    from cloudtrain_site.serving.csv_streams import csv_lines
    from jobs.costs.spending import ENTRY_COLUMNS, Spending
    from jobs.models import LedgerEntry

    today = datetime.now(UTC).date()
    spending = Spending(User.objects.get(username="bench-root"), first_day(today), today)
    lines = csv_lines(ENTRY_COLUMNS, spending.entries())
    for _ in islice(lines, OBJECTS):
        pass
    before, rate = peak_mb(), rows_a_second(lines)
    grown = peak_mb() - before
    naive = csv_lines((), (cells_of(entry) for entry in list(LedgerEntry.objects.all()[:OBJECTS])))
    return [
        Figure(f"{kind}: CSV of all entries", rate, "rows/s", rows_a_second(naive), ROWS_A_SECOND, at_least=True),
        Figure(f"{kind}: memory that it grew by after {OBJECTS:,} rows", grown, "MB", target=GROWTH_MB),
    ]


def cells_of(entry: Any) -> list[Any]:
    return [getattr(entry, field.attname) for field in entry._meta.concrete_fields]


def rows_a_second(lines: Iterator[str]) -> float:
    began = cpu_seconds()
    count = sum(1 for _ in lines)
    return count / (cpu_seconds() - began)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_pass(kind: str, users: list[int], organizations: list[int]) -> list[Figure]:
    from queueing.claims import choose_entries
    from queueing.models import Budget

    def choose() -> None:
        if len(choose_entries(FREE)) != FREE:
            raise SystemExit("not all free slots were filled")

    without = ms(choose)
    people = [(user, organizations[place % ORGANIZATIONS]) for place, user in enumerate(users)]
    budgets = [Budget(scope="site", amount=Decimal(10**8))]
    budgets += [Budget(scope="organization", organization_id=pk, amount=Decimal(10**6)) for pk in organizations]
    budgets += [
        Budget(scope="user", organization_id=organization, user_id=user, amount=Decimal(10**6))
        for user, organization in people
        if organization in organizations[:10]
    ]
    Budget.objects.bulk_create(budgets)
    with_budgets = ms(choose)
    name = f"{kind}: a pass, with {len(budgets)} budgets"
    added = Figure(f"{kind}: of that, the budgets", with_budgets - without, "ms", target=PASS_MS)
    return [Figure(name, with_budgets, "ms", without), added]


def measure_poll(kind: str, count: int, users: list[int], organizations: list[int]) -> list[Figure]:
    from jobs.costs import accounting, ledger
    from jobs.sync.apply import SnapshotBatch

    config = make_running(count, users, organizations)
    clock = iter(range(3720, 10**9, 120))

    def poll() -> float:
        from jobs.models import Job
        from jobs.providers.base import Snapshot
        from jobs.statuses import JobStatus

        jobs = {job.pk: job for job in Job.objects.filter(pk__startswith="01running")}
        billed = float(next(clock))
        answers = {
            pk: Snapshot(job.external_id or "", JobStatus.RUNNING, billed_seconds=billed) for pk, job in jobs.items()
        }
        batch = SnapshotBatch(jobs, config, "poll")
        batch.apply(answers)
        if batch.changed != count:
            raise SystemExit(f"{batch.changed} of {count} jobs have cost more")
        return billed

    # Each poll of the bench finds an entry due, as one in four does at a site.
    with patch.object(accounting, "ACCRUE_PAUSE", timedelta()):
        with_ledger = ms(poll, 5)
        with patch.object(ledger, "count", lambda *arguments, **options: None):
            without = ms(poll, 5)
    added = Figure(f"{kind}: of that, accruing", with_ledger - without, "ms", target=POLL_MS)
    return [Figure(f"{kind}: a poll of {count:,} running jobs", with_ledger, "ms", without), added]


def make_running(count: int, users: list[int], organizations: list[int]) -> Any:
    """Make jobs that began an hour ago, with what the queue holds for them. Returns their provider."""
    from django.utils import timezone

    from cloudtrain_site.database.unit_of_work import unit_of_work
    from jobs.costs import ledger
    from jobs.models import Job, ProviderConfig

    prices = {"cost_per_second": {PRICED: 0.001}}
    config, _ = ProviderConfig.objects.update_or_create(name="replicate", defaults=prices)
    jobs = [
        Job(
            id=f"01running{number:017d}",
            organization_id=organizations[number % len(organizations)],
            submitted_by_id=users[number % len(users)],
            provider="replicate",
            hardware_profile=PRICED,
            external_id=f"run-{number}",
            config_name="run",
            correlation_id="bench",
            status="running",
            started_at=timezone.now() - timedelta(hours=1),
            estimated_cost_usd=Decimal(500),
        )
        for number in range(count)
    ]
    Job.objects.bulk_create(jobs)
    with unit_of_work():
        ledger.reserve(jobs)
    return config


def measure(kind: str, options: argparse.Namespace) -> list[Figure]:
    with database(kind):
        from django.conf import settings
        from django.db import connection

        settings.ALLOWED_HOSTS = ["testserver"]
        users, organizations = make_people()
        add_provider(InstantProvider())
        make_waiting(options.waiting, users, organizations)
        set_limits(FREE, 2, 10)
        make_year(options.entries, users, organizations)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        return [
            *measure_pass(kind, users, organizations),
            *measure_page(kind),
            *measure_csv(kind),
            *measure_poll(kind, options.running, users, organizations),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the ledger and the budgets.")
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--running", type=int, default=1_000)
    parser.add_argument("--part", choices=("sqlite", "postgresql"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        return print_table(f"The ledger on {options.part}", measure(options.part, options))
    sizes = [f"--{name}={getattr(options, name)}" for name in ("entries", "waiting", "running")]
    # Each in a process of its own: Django has one database, and memory is measured.
    parts = [[sys.executable, "-m", "bench.bench_ledger", "--part", part, *sizes] for part in options.on.split(",")]
    return max([subprocess.run(part, cwd=ROOT, check=False).returncode for part in parts])


if __name__ == "__main__":
    sys.exit(main())
