"""A site with a million jobs: what its pages, lists, admin and background cost, beside the same with a thousand.

    python -m bench.bench_million [--jobs 1000000] [--baseline 1000] [--on sqlite,postgresql] [--sample 0] [--slow 20]

Each million jobs have ten million lines of history, a million ledger entries and 100,000 requests for an approval
(`million_rows.py`); making them takes ten minutes and 8 GB. Every list is read with each filter in each order, by a
member of one organization, a lead of two and a superuser (`million_pages.py`; `--sample` takes some of these visits).
A figure is milliseconds of the processor, the program's and the database's: beside others on the machine the clock says
less. Each visit is made once before it is timed, as by its second reader.
To reach: 50 ms for 99 of 100, 150 ms in the admin. `--slow` prints the slowest visits. What runs in the background
(`million_background.py`) has bounds of its own; of a transaction the clock counts, for so long others wait.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

from bench.database import database
from bench.million_background import background_figures
from bench.million_pages import Visit, people, visits
from bench.million_rows import make_site
from bench.stack import Figure, percentile, print_table

TARGET_MS = 50
TARGETS_MS: Mapping[str, float | None] = {
    "admin": 150,
    "a webhook": 20,
    "discovery of 100": 1000,
    "a transaction of the upkeep": 100,
    "a pass of the queue": None,
}
ROUNDS = 3


def timed_visits(sample: int) -> Iterator[tuple[Visit, float]]:
    """Yield each visit, or `sample` of them, and the milliseconds that the quickest of its rounds took."""
    from django.test import Client

    chosen = list(visits())
    random.Random(1).shuffle(chosen)
    clients = {}
    for reader, user in people().items():
        clients[reader] = Client(headers={"host": "localhost"})
        clients[reader].force_login(user)
        clients[reader].get("/")
    for visit in chosen[: sample or None]:
        answer = clients[visit.reader].get(visit.address)
        assert answer.status_code in (200, 302, 403, 404), f"{visit}: {answer.status_code}"
        yield visit, min(work_ms(lambda: clients[visit.reader].get(visit.address)) for _ in range(ROUNDS))  # noqa: B023


def work_ms(action: Any) -> float:
    before = _work_seconds()
    action()
    return (_work_seconds() - before) * 1000


def _work_seconds() -> float:
    """Return the processor's seconds of this thread, and of the PostgreSQL process that answers it."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return time.thread_time()
    connection.ensure_connection()
    server = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat").read_text()
    return time.thread_time() + int(server.split()[0]) / 1e9


def measure(kind: str, jobs: int, sample: int, slow: int) -> dict[str, tuple[float, float]]:
    """Return the middle and the 99th of a hundred visits, by their kind."""
    with database(kind):
        from django.db import connection

        from cloudtrain_site.database.sqlite_analyze import refresh_statistics
        from jobs.costs.cost_sums import sum_up_costs
        from jobs.costs.day_figures import sum_up_days
        from jobs.models import ChangedCosts, ChangedDay

        make_site(jobs, lambda text: print(f"{kind}, {jobs:,} jobs: {text}", file=sys.stderr, flush=True))
        for marks in (ChangedDay, ChangedCosts):
            marks.objects.all().delete()  # nothing has sums yet, and there is a mark for each row
        sum_up_days(inf)  # as the upkeep does a day after each
        sum_up_costs(inf)
        refresh_statistics()
        if kind == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")  # what autovacuum does soon after so many inserts
        found = sorted(timed_visits(sample), key=lambda item: -item[1])
        for visit, took in found[:slow]:
            print(f"{kind}, {jobs:,} jobs: {took:7.1f} ms {visit.reader:4} {visit.address}", file=sys.stderr)
        by_kind: dict[str, list[float]] = defaultdict(list)
        for visit, took in found:
            by_kind[visit.kind].append(took)
        of_pages = {name: (median(times), percentile(times, 99)) for name, times in sorted(by_kind.items())}
        gc.collect()
        gc.freeze()  # as the background's processes do: a collection of all of Django takes 70 ms
        return of_pages | background_figures(work_ms)


def figures(
    kind: str, large: Mapping[str, tuple[float, float]], small: Mapping[str, tuple[float, float]]
) -> Iterator[Figure]:
    for name, (middle, slowest) in large.items():
        before = small.get(name, (None, None))
        yield Figure(f"{kind} {name}, p50", middle, "ms", before[0])
        yield Figure(f"{kind} {name}, p99", slowest, "ms", before[1], TARGETS_MS.get(name, TARGET_MS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--baseline", type=int, default=1000)
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--one", choices=("sqlite", "postgresql"), help="measure one site and print its figures")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "No directory at", UserWarning)
    if options.one:
        print(json.dumps(measure(options.one, options.jobs, options.sample, options.slow)))
        return 0
    rows: list[Figure] = []
    for kind in options.on.split(","):
        small, large = (_in_process(kind, jobs, options) for jobs in (options.baseline, options.jobs))
        rows += figures(kind, large, small)
    return print_table(f"A site with {options.jobs:,} jobs, beside one with {options.baseline:,}", rows)


def _in_process(kind: str, jobs: int, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Django is set up for one database a process."""
    command = [sys.executable, "-m", "bench.bench_million", f"--one={kind}", f"--jobs={jobs}"]
    command += [f"--sample={options.sample}", f"--slow={options.slow}"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, tuple[float, float]] = json.loads(answer.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
