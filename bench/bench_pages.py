"""The list of jobs with 100,000 of them in the database: time in the server, queries, and bytes over the wire.

    python -m bench.bench_pages [--jobs 100000] [--on sqlite,postgresql] [--explain] [--no-statistics]

Nine of ten jobs are acme's, the others those of a second organization. A page is asked for through all of Django's
middleware, by a researcher of acme, by a lead of both and by a superuser; the figure is the median of the rounds. To
reach: 60 ms for a first page, 100 ms for a search, on the page and over the API, and 150 kB with everything that the
page loads, as its own server sends it.
Beside so many jobs a researcher asks for dry runs of a submission: to reach 30 ms (p95).
`--explain` prints how the database finds what takes longest on each page; `--no-statistics` leaves its planner without
any, as on a SQLite file before the first hour's housekeeping.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from statistics import median
from typing import Any
from urllib.parse import urljoin

from bench.database import database
from bench.stack import Figure, percentile, print_table

ROUNDS = 15
TARGET_MS = 60
SEARCH_TARGET_MS = 100
TARGET_KB = 150
DRY_RUNS = 100
DRY_RUN_MS = 30
BATCH = 5000
#: Of a hundred ended jobs.
ENDS = ["completed"] * 80 + ["failed"] * 15 + ["cancelled"] * 5
WAITING, RUNNING = 200, 100
CONFIG = {f"option_{number}": "a value as configs have them" for number in range(25)} | {"max_train_steps": 1000}


def make_jobs(count: int) -> None:
    """The jobs of a year, and the queue entries of those that wait."""
    from django.contrib.auth.models import User

    from jobs.models import Job, Membership, Organization
    from queueing.models import QueueEntry
    from queueing.policy import turn_of

    acme, other = (Organization.objects.create(name=name) for name in ("acme", "other"))
    people = User.objects.bulk_create(User(username=f"user-{n}") for n in range(50))
    rachel = User.objects.create_user("rachel")
    lea, root = User.objects.create_user("lea"), User.objects.create_superuser("root")
    memberships = [(rachel, acme, "researcher"), (lea, acme, "lead"), (lea, other, "lead")]
    Membership.objects.bulk_create(Membership(user=u, organization=o, role=r) for u, o, r in memberships)
    assert root.is_superuser
    chance = random.Random(1)
    for first in range(0, count, BATCH):
        jobs = [
            _job(Job, number, count, acme if number % 10 else other, [*people, rachel], chance)
            for number in range(first, min(first + BATCH, count))
        ]
        Job.objects.bulk_create(jobs)
        QueueEntry.objects.bulk_create(
            QueueEntry(
                job=job,
                organization_id=job.organization_id,
                user_id=job.submitted_by_id,
                provider=job.provider,
                enqueued_at=job.created_at,
                turn=turn_of(job.created_at, 0),
            )
            for job in jobs
            if job.status == "pending"
        )


def _job(model: Any, number: int, count: int, organization: Any, people: list[Any], chance: random.Random) -> Any:
    from django.utils import timezone

    from jobs.identifiers import new_job_id
    from jobs.snapshot_fields import end_fields

    age = count - number
    status = "pending" if age <= WAITING else "running" if age <= WAITING + RUNNING else chance.choice(ENDS)
    at = timezone.now() - timedelta(minutes=5 * age)
    times: dict[str, Any] = {} if status == "pending" else {"started_at": at + timedelta(minutes=1)}
    if status not in ("pending", "running"):
        # Hardly two for as long: by that PostgreSQL estimates how many come after a place in the list.
        took = timedelta(minutes=29, milliseconds=number * 7919 % 1_800_000)
        times.update(end_fields(times["started_at"], times["started_at"] + took))
    is_local = number % 200 == 0
    return model(
        id=new_job_id(at),
        organization=organization,
        submitted_by=chance.choice(people),
        correlation_id=f"bench{number}",
        provider="local" if is_local else "replicate",
        external_id=None if status == "pending" else f"external-{number}",
        hardware_profile="cpu" if is_local else "h100",
        config_name=f"sdxl-{number}-{chance.choice(['portraits', 'textures', 'logo', 'kitchen'])}",
        config=CONFIG,
        status=status,
        stage="Training" if status == "running" else None,
        progress=40.0 if status == "running" else None,
        created_at=at,
        cost_usd=0 if status in ("pending", "cancelled") else round(chance.random() * 40, 4),
        **times,
    )


def lists(jobs: int) -> Iterator[tuple[str, str, str]]:
    """What is asked for: by whom, what to call it, and the address."""
    from jobs.models import Job

    halfway = Job.objects.filter(organization__name="acme").order_by("id").values_list("pk", flat=True)[jobs // 2]
    ranked = Job.objects.filter(organization__name="acme").order_by("-cost_usd", "-id").values_list("pk", flat=True)
    yield from (("rachel", "first page", "/"), ("lea", "of two organizations", "/"), ("root", "of a superuser", "/"))
    for username in ("rachel", "root"):
        yield username, "halfway down", f"/?cursor={halfway}"
        yield username, "failed", "/?status=failed"
        yield username, "running", "/?status=uploading&status=queued&status=running"
        yield username, "local, one in 200", "/?provider=local"
        yield username, "mine", "/?mine=true"
        yield username, "oldest first", "/?sort=oldest"
        yield username, "by name", "/?sort=name"
        yield username, "by name, halfway down", f"/?sort=name&cursor={halfway}"
        yield username, "by status", "/?sort=status"
        yield username, "by status, halfway down", f"/?sort=status&cursor={halfway}"
        yield username, "longest first", "/?sort=duration"
        yield username, "longest first, halfway down", f"/?sort=duration&cursor={halfway}"
        yield username, "most expensive first", "/?sort=cost"
        yield username, "most expensive, halfway down", f"/?sort=cost&cursor={ranked[jobs // 2]}"
        for text, how_many in (("portraits", "many"), ("99999", "one"), ("nothing-is-called-this", "none")):
            yield username, f"search that finds {how_many}", f"/?search={text}"
            yield username, f"search over the API that finds {how_many}", f"/api/cloud/jobs?search={text}"
    yield "lea", "most expensive of two", "/?sort=cost"
    yield "lea", "longest of two", "/?sort=duration"
    yield "lea", "of one of the two", "/?organization=other"
    yield "lea", "of one of the two, by duration", "/?organization=other&sort=duration"


def measure(kind: str, jobs: int, *, explains: bool, analyzes: bool) -> list[Figure]:
    with database(kind):
        from django.contrib.auth.models import User
        from django.db import connection
        from django.test import Client

        from cloudtrain_site.database.sqlite_analyze import refresh_statistics

        make_jobs(jobs)
        if analyzes:
            if kind == "sqlite":
                refresh_statistics()
            else:
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM ANALYZE")  # what autovacuum does soon after so many inserts
        figures = []
        for username, name, address in lists(jobs):
            client = Client(headers={"host": "localhost"})
            client.force_login(User.objects.get(username=username))
            trace = QueryTrace()
            with connection.execute_wrapper(trace):
                answer = client.get(address)
            assert answer.status_code == 200, answer.status_code
            took, worked = (
                median(times) for times in zip(*(timed(client, address) for _ in range(ROUNDS)), strict=True)
            )
            target = SEARCH_TARGET_MS if "search" in name else TARGET_MS
            seen = f"{len(trace.queries)} queries, {len(answer.content):,} bytes, longest query {longest(trace):.1f} ms"
            print(f"{kind} {username:7} {name:30} {took:7.1f} ms, {worked:6.1f} ms of work, {seen}")
            if explains:
                explain(trace)
            figures.append(Figure(f"{kind} {username}: {name}", took, "ms", target=target))
            if name == "first page":
                size = whole_size(client, answer.content, address)
                figures.append(
                    Figure(f"{kind} {username}: the page and all it loads", size / 1000, "kB", target=TARGET_KB)
                )
        return [*figures, *dry_runs(kind)]


def dry_runs(kind: str) -> list[Figure]:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="rachel"))
    address, body = "/api/cloud/jobs/submit?provider=local", {"config": CONFIG, "dry_run": True}
    for _ in range(ROUNDS):
        assert client.post(address, body, content_type="application/json").status_code == 200
    times = [timed(client, address, body)[0] for _ in range(DRY_RUNS)]
    return [
        Figure(f"{kind} rachel: dry run, p50", median(times), "ms"),
        Figure(f"{kind} rachel: dry run, p95", percentile(times, 95), "ms", target=DRY_RUN_MS),
    ]


def timed(client: Any, address: str, body: object = None) -> tuple[float, float]:
    """Milliseconds by the clock, and of this thread's work: beside others on the machine, the two differ."""
    began, worked = time.perf_counter(), time.thread_time()
    client.post(address, body, content_type="application/json") if body else client.get(address)
    return (time.perf_counter() - began) * 1000, (time.thread_time() - worked) * 1000


def longest(trace: QueryTrace) -> float:
    return max(took for took, _, _ in trace.queries) * 1000


def whole_size(client: Any, page: bytes, address: str) -> int:
    """The page with its stylesheets and scripts, and the modules that these import."""
    loaded = {name.decode() for name in re.findall(rb'(?:href|src)="(/static/[^"]+)"', page)}
    packed = {"accept-encoding": "gzip"}
    size, rest = len(client.get(address, headers=packed).content), sorted(loaded)
    while rest:
        at = rest.pop()
        size += len(client.get(at, headers=packed).content)
        for name in re.findall(rb'from "(\.{1,2}/[\w./]+)"', client.get(at).content):
            module = urljoin(at, name.decode())
            if module not in loaded:
                loaded.add(module)
                rest.append(module)
    return size


class QueryTrace:
    """What a page asks the database, and how long each answer took."""

    def __init__(self) -> None:
        self.queries: list[tuple[float, str, Any]] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.queries.append((time.perf_counter() - began, sql, params))


def explain(trace: QueryTrace) -> None:
    """How the database finds what took longest."""
    from django.db import connection

    for took, sql, params in sorted(trace.queries, key=lambda query: -query[0])[:2]:
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF)"
        print(f"    {took * 1000:.1f} ms: ... {sql[sql.index('FROM') :] if 'FROM' in sql else sql} {str(params)[:200]}")
        with connection.cursor() as cursor:
            cursor.execute(f"{explain} {sql}", params)
            for line in cursor.fetchall():
                print("      ", line[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--no-statistics", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "No directory at", UserWarning)
    kinds = options.on.split(",")
    if len(kinds) > 1:
        # Django is set up for one database a process.
        own = [f"--jobs={options.jobs}", *(name for name in ("--explain", "--no-statistics") if name in sys.argv)]
        return max(subprocess.call([sys.executable, "-m", "bench.bench_pages", f"--on={kind}", *own]) for kind in kinds)
    figures = measure(kinds[0], options.jobs, explains=options.explain, analyzes=not options.no_statistics)
    return print_table("The list of jobs", figures)


if __name__ == "__main__":
    sys.exit(main())
