"""Submissions a second, and how long each takes, with 20 clients at once on SQLite.

    python -m bench.bench_submit [--clients 20] [--each 50]

The embedded default, its queue paused, so that nothing trains and the machine belongs to the submissions. Each client
is a user of its own with a connection that it keeps, and submits one job after the other. The baseline is one such
client alone, in the same run. To reach: no error, no lock failure, every job stored once; and no submission waits for
longer than half of the time after which SQLite gives up.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.stack import ROOT, Figure, Stack, percentile, print_table, running_stack

WARM_UP = 20
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
    """What some clients came to together."""

    seconds: float
    submitters: Sequence[Submitter]

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


def run(submitters: Sequence[Submitter], each: int) -> Outcome:
    """All of them at once, `each` submissions a client."""
    threads = [threading.Thread(target=submitter.submit, args=(each,)) for submitter in submitters]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome(time.perf_counter() - began, submitters)


def measure(stack: Stack, clients: int, each: int) -> tuple[Outcome, Outcome, int]:
    """One client alone, all at once, and how many of their jobs are stored."""
    from jobs.models import Job
    from queueing.models import QueueState

    QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    config = json.loads((ROOT / "examples" / "flux-lora-quick.json").read_text())
    body = json.dumps({"config": config, "config_name": "bench"}).encode()
    keys = [stack.make_member(f"user-{number}", "researcher") for number in range(clients)]
    warm, alone, *crowd = [Submitter(stack.port, key, body) for key in (keys[0], keys[0], *keys)]
    run([warm], WARM_UP)
    one = run([alone], max(100, each))
    many = run(crowd, each)
    stored = Job.objects.filter(pk__in=one.job_ids + many.job_ids).count()
    return one, many, stored


def figures(stack: Stack, one: Outcome, many: Outcome, stored: int) -> list[Figure]:
    answered = len(one.job_ids) + len(many.job_ids)
    return [
        Figure("submissions a second", many.a_second, "/s", one.a_second),
        Figure("a submission, p50", median(many.times), "ms", median(one.times)),
        Figure("a submission, p99", percentile(many.times, 99), "ms", percentile(one.times, 99)),
        Figure("a submission, longest", max(many.times), "ms", max(one.times), LONGEST_MS),
        Figure("refused or failed", len(one.failures) + len(many.failures), target=0),
        Figure("lock failures in the log", stack.logged(*LOCK_WORDS), target=0),
        Figure("accepted and not stored", answered - stored, target=0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--each", type=int, default=50, help="submissions a client")
    options = parser.parse_args()
    with running_stack() as stack:
        one, many, stored = measure(stack, options.clients, options.each)
        found = figures(stack, one, many, stored)
    for failure in (one.failures + many.failures)[:5]:
        print(failure)
    return print_table(f"{options.clients} clients submit at once; baseline: one client alone", found)


if __name__ == "__main__":
    sys.exit(main())
