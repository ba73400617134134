"""Submissions a second, how long each takes, and its processor time, with 20 clients at once and one web process.

    python -m bench.bench_submit [--on sqlite,postgresql] [--clients 20] [--each 50]

The queue is paused, so that nothing trains and the machine belongs to the submissions; a rule holds each of them, the
costlier case. Each client is a user of its own with a connection that it keeps, and submits one job after the other.
The baseline is the least that Django and its REST framework can do, see `bench.least_site`, with the same clients on
the same database in the same run. To reach, besides the figures in the table: no error, no lock failure, every job
stored once; and no submission waits for longer than half of the time after which SQLite gives up.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

import psycopg

from bench.bench_rest import family, is_web, processor_seconds
from bench.ending import end, end_as_by_ctrl_c
from bench.stack import ROOT, Figure, Stack, percentile, print_table, running_stack
from tests.servers import PostgresServer, free_port, wait_for_port

WARM_UP = 20
#: By database, how many a second there are at least, and the 99th percentile in ms at most.
TARGETS = {"sqlite": (100, 300), "postgresql": (200, 200)}
#: Of the web process, for each submission.
PROCESSOR_MS = 8
#: The busy_timeout of the settings is twice as long.
LONGEST_MS = 5000
TIMEOUT_SECONDS = 60
#: What a database that gave up waiting for a lock leaves in the log.
LOCK_WORDS = ("database is locked", "database table is locked")


@dataclass
class Submitter:
    """One client, and what it met with."""

    port: int
    key: str
    body: bytes
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)

    def submit(self, count: int) -> None:
        """One submission after the other."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        for _ in range(count):
            began = time.perf_counter()
            try:
                self._submit_once(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self.times.append((time.perf_counter() - began) * 1000)
        connection.close()

    def _submit_once(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Content-Type": "application/json", "X-API-Key": self.key}
        connection.request("POST", "/api/cloud/jobs/submit", self.body, headers)
        response = connection.getresponse()
        answer = response.read().decode()
        if response.status == 201:
            self.job_ids.append(json.loads(answer)["job_id"])
        else:
            self.failures.append(f"{response.status} {answer[:200]}")


@dataclass(frozen=True)
class Outcome:
    """What some clients came to together, and the processor time that it took each process, by what that is."""

    seconds: float
    submitters: Sequence[Submitter]
    processor: dict[str, float]

    @property
    def times(self) -> list[float]:
        return [moment for submitter in self.submitters for moment in submitter.times]

    @property
    def job_ids(self) -> list[str]:
        return [job_id for submitter in self.submitters for job_id in submitter.job_ids]

    @property
    def failures(self) -> list[str]:
        return [failure for submitter in self.submitters for failure in submitter.failures]

    @property
    def a_second(self) -> float:
        return len(self.job_ids) / self.seconds

    def processor_ms(self, *, web: bool) -> float:
        """Of each submission: of the web process, or of all others."""
        seconds = sum(value for name, value in self.processor.items() if (name == "web") == web)
        return seconds / max(1, len(self.job_ids)) * 1000


def run(submitters: Sequence[Submitter], each: int, pids: dict[int, str]) -> Outcome:
    """All of them at once, `each` submissions a client, at a site with these processes."""
    threads = [threading.Thread(target=submitter.submit, args=(each,)) for submitter in submitters]
    before = {pid: processor_seconds(pid) for pid in pids}
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    processor: dict[str, float] = {}
    for pid, name in pids.items():
        processor[name] = processor.get(name, 0.0) + processor_seconds(pid) - before[pid]
    return Outcome(seconds, submitters, processor)


def crowd_of(keys: Sequence[str], port: int, each: int, pids: dict[int, str]) -> Outcome:
    """All clients at once, after a few that warm the site up."""
    config = json.loads((ROOT / "examples" / "flux-lora-quick.json").read_text())
    body = json.dumps({"config": config, "config_name": "bench"}).encode()
    run([Submitter(port, key, body) for key in keys[:4]], WARM_UP, pids)
    return run([Submitter(port, key, body) for key in keys], each, pids)


def measure(stack: Stack, clients: int, each: int) -> tuple[Outcome, int]:
    """What all clients came to, and how many of their jobs are stored."""
    from jobs.models import Job
    from queueing.models import QueueState

    QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    keys = [stack.make_member(f"user-{number}", "researcher") for number in range(clients)]
    pids = {pid: "web" if is_web(pid) else "other" for pid in family(stack.process.pid)}
    many = crowd_of(keys, stack.port, each, pids)
    return many, Job.objects.filter(pk__in=many.job_ids).count()


@contextmanager
def least_site(clients: int, database: dict[str, str]) -> Iterator[tuple[int, int]]:
    """The baseline's site: its port, and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-m", "bench.least_site", str(port), str(clients)]
        environment = {**os.environ, "SIMPLETUNER_DATA_DIR": folder, **database}
        process = subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT)
        try:
            wait_for_port(port, process)
            yield port, process.pid
        finally:
            end(process)


def figures(kind: str, stack: Stack, many: Outcome, stored: int, least: Outcome) -> list[Figure]:
    a_second, p99 = TARGETS[kind]
    web, least_web = many.processor_ms(web=True), least.processor_ms(web=True)
    return [
        Figure("submissions a second", many.a_second, "/s", least.a_second, a_second, at_least=True),
        Figure("a submission, p50", median(many.times), "ms", median(least.times)),
        Figure("a submission, p99", percentile(many.times, 99), "ms", percentile(least.times, 99), p99),
        Figure("a submission, longest", max(many.times), "ms", max(least.times), LONGEST_MS),
        Figure("processor time each, web process", web * 1000, "us", least_web * 1000, PROCESSOR_MS * 1000),
        Figure("processor time each, all others of it", many.processor_ms(web=False) * 1000, "us"),
        Figure("refused or failed", len(many.failures), target=0),
        Figure("lock failures in the log", stack.logged(*LOCK_WORDS), target=0),
        Figure("accepted and not stored", len(many.job_ids) - stored, target=0),
    ]


def measure_on(kind: str, clients: int, each: int) -> int:
    """Print the figures of one database. Returns the exit code."""
    with ExitStack() as open_things:
        url, least = None, {}
        if kind == "postgresql":
            server = PostgresServer.start()
            open_things.callback(server.stop)
            with psycopg.connect(server.url, autocommit=True) as link:
                link.execute("CREATE DATABASE least")
            url, least = server.url, {"DATABASE_URL": f"{server.url.removesuffix('/postgres')}/least"}
        with least_site(clients, least) as (port, pid):
            baseline = crowd_of([f"key-{number}" for number in range(clients)], port, each, {pid: "web"})
        with running_stack(database_url=url) as stack:
            many, stored = measure(stack, clients, each)
            found = figures(kind, stack, many, stored, baseline)
    for failure in (many.failures + baseline.failures)[:5]:
        print(failure)
    return print_table(f"{clients} clients submit at once, {kind}; baseline: the least of Django and DRF", found)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--each", type=int, default=50, help="submissions a client")
    parser.add_argument("--part", choices=tuple(TARGETS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    end_as_by_ctrl_c()
    if options.part:
        return measure_on(options.part, options.clients, options.each)
    # Each in a process of its own: Django is set up for one database.
    sizes = ["--clients", str(options.clients), "--each", str(options.each)]
    parts = [[sys.executable, "-m", "bench.bench_submit", "--part", kind, *sizes] for kind in options.on.split(",")]
    return max(subprocess.run(part, cwd=ROOT, check=False).returncode for part in parts)


if __name__ == "__main__":
    sys.exit(main())
