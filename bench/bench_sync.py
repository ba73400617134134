"""How long it takes to bring active jobs at a provider up to date, beside asking for one after the other.

    python -m bench.bench_sync [--jobs 100 1000 10000]

A Replicate of its own process answers each request after 100 ms; the database is SQLite. One in a hundred jobs changed
since the cycle before. The sequential way is one GET and one save a job; it is measured on 100 jobs and, for more of
them, multiplied. Also: one request of ten that hangs, and twenty viewers of one job.
To reach: 100 jobs 50 times faster; 1,000 in 1.5 s with at most 15 requests; 10,000 in 12 s below 300 MB; the others at
most 0.3 s later for one that hangs; at most 7 requests for twenty viewers in 30 s.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

FOLDER = tempfile.mkdtemp(prefix="cloudtrain-bench-")
os.environ.update(SIMPLETUNER_DATA_DIR=FOLDER, SIMPLETUNER_LOG_LEVEL="WARNING", SECRET_KEY="only-for-the-bench")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")

import django  # noqa: E402

django.setup()

import httpx  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.ending import end_as_by_ctrl_c  # noqa: E402
from bench.stack import Figure, print_table  # noqa: E402
from cloudtrain_site.states import Source  # noqa: E402
from examples.fake_replicate.process import FakeReplicateProcess  # noqa: E402
from jobs.models import Job  # noqa: E402
from jobs.sync import refresh  # noqa: E402
from jobs.sync.answers import answers_of  # noqa: E402

CHUNK = 100
VIEWERS = 20
VIEW_SECONDS = 30.0
TARGETS: dict[int, dict[str, float]] = {
    100: {"seconds": 10.6 / 50},  # of the sequential way with this latency
    1000: {"seconds": 1.5, "requests": 15},
    10_000: {"seconds": 12, "memory": 300},
}
HANGING_SECONDS = 0.3
VIEWER_REQUESTS = 7


class Queries:
    """Counts statements that write."""

    def __init__(self) -> None:
        self.writes = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.writes += sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))
        return execute(sql, params, many, context)


def make_jobs(fake: FakeReplicateProcess, count: int) -> list[str]:
    """Queued jobs and their predictions, made one after the other as in life."""
    Job.objects.all().delete()
    ids: list[str] = []
    while len(ids) < count:
        since = timezone.now()
        made = fake.fill(min(CHUNK, count - len(ids)), model="simpletuner/advanced-trainer-h100", status="starting")
        Job.objects.bulk_create(
            Job(
                provider="replicate",
                external_id=external_id,
                status="queued",
                hardware_profile="h100",
                config_name="bench",
                config={"max_train_steps": 1000},
                correlation_id="bench",
                submission_started_at=since,
            )
            for external_id in made
        )
        ids += made
    return ids


@contextmanager
def counted(fake: FakeReplicateProcess, usage: dict[str, float]) -> Iterator[None]:
    """Seconds, requests and writes of the block."""
    queries, before, started = Queries(), requests_of(fake), time.perf_counter()
    with connection.execute_wrapper(queries):
        yield
    usage["seconds"] = time.perf_counter() - started
    usage["requests"], usage["writes"] = requests_of(fake) - before, queries.writes


def requests_of(fake: FakeReplicateProcess) -> int:
    return int(sum(fake.state()["requests"].values()))


def cycle(fake: FakeReplicateProcess, count: int) -> dict[str, float]:
    """One poll after one in a hundred changed."""
    ids = make_jobs(fake, count)
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    for external_id in ids[::100]:
        fake.update(external_id, status="processing")
    usage: dict[str, float] = {}
    with counted(fake, usage):
        outcome = refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    assert (outcome.refreshed, outcome.moved) == (count, len(ids[::100])), outcome
    usage["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return usage


def sequential(fake: FakeReplicateProcess, count: int) -> float:
    """The same by one request and one save a job."""
    make_jobs(fake, count)
    started = time.perf_counter()
    with httpx.Client(base_url=fake.url, headers={"Authorization": f"Bearer {fake.token}"}) as client:
        for job in refresh.active_jobs():
            client.get(f"/v1/predictions/{job.external_id}").raise_for_status()
            job.last_synced_at = timezone.now()
            job.save(update_fields=["last_synced_at"])
    return time.perf_counter() - started


def hanging(fake: FakeReplicateProcess) -> tuple[float, float]:
    """When the others of three, asked for one by one, were up to date: without and with one that hangs."""
    moments = []
    for spoilt in (False, True):
        ids = make_jobs(fake, 3)
        for external_id in ids:
            fake.update(external_id, status="processing")
        if spoilt:
            fake.spoil(rules=[{"kind": "hang", "path": ids[0], "seconds": 2.0, "times": 1}])
        handles = [refresh.handle_of(job) for job in refresh.active_jobs()]
        started, seen = time.perf_counter(), 0
        for _, part in answers_of({"replicate": handles}):
            seen += len(part) if isinstance(part, Mapping) else 0
            if seen == 2:
                moments.append(time.perf_counter() - started)
        fake.spoil(calm=True)
    return moments[0], moments[1]


def viewers(fake: FakeReplicateProcess) -> tuple[int, int]:
    """Twenty who look at one running job twice a second: their looks, and the requests that these cost."""
    (external_id,) = make_jobs(fake, 1)
    fake.update(external_id, status="processing", logs="step 1/10\n")
    before, until, looks = requests_of(fake), time.monotonic() + VIEW_SECONDS, []

    def look() -> None:
        try:
            while time.monotonic() < until:
                refresh.refresh_viewed(Job.objects.get(), source=Source.API)
                looks.append(1)
                time.sleep(0.5)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(VIEWERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(looks), requests_of(fake) - before


def figures(fake: FakeReplicateProcess, counts: Sequence[int]) -> Iterator[Figure]:
    one_by_one = sequential(fake, 100) / 100
    for count in counts:
        usage, limits = cycle(fake, count), TARGETS.get(count, {})
        yield Figure(f"{count} jobs", usage["seconds"], "s", one_by_one * count, limits.get("seconds"))
        yield Figure("  requests", usage["requests"], "", count, limits.get("requests"))
        yield Figure("  writes", usage["writes"], "", count)
        yield Figure("  peak of memory", usage["memory"], "MB", None, limits.get("memory"))
    calm, spoilt = hanging(fake)
    yield Figure("one of three hangs: the others after", spoilt, "s", calm, calm + HANGING_SECONDS)
    looks, requests = viewers(fake)
    yield Figure(f"requests for {VIEWERS} viewers in {VIEW_SECONDS:.0f} s", requests, "", looks, VIEWER_REQUESTS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the refresh of active jobs.")
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000, 10_000])
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    end_as_by_ctrl_c()
    with FakeReplicateProcess.start("--latency-ms", "100") as fake:
        os.environ.update(REPLICATE_BASE_URL=fake.url, REPLICATE_API_TOKEN=fake.token)
        found = list(figures(fake, options.jobs))
    return print_table("Active jobs brought up to date; baseline: one request and one save a job", found)


if __name__ == "__main__":
    sys.exit(main())
