"""The queue: how long a pass decides, how many jobs a second reach their provider, and how soon after their submission.

    python -m bench.bench_queue [--waiting 100000] [--finished 1000000] [--jobs 2000] [--submits 500]
        [--on sqlite,postgresql,dispatch,latency]

The pass: 100,000 waiting entries of 1,000 users in 50 organizations, 100 free slots. The baseline loads all waiting
entries for each pick, as a queue does that was never measured; it is timed for one pick and counted for a hundred.
The dispatch: four dispatcher processes and a provider in each of them that answers at once.
The latency: 500 submissions, twenty a second, on PostgreSQL with Redis as the broker and four task workers; from the
commit of the submission to the call of the provider. Its baseline is half a tick, which is what waiting for the tick
alone would take at the median.
"CPU" is what the dispatchers' own program needs of a processor, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.crowd import InstantProvider, add_provider, make_finished, make_people, make_waiting, set_limits
from bench.database import database, set_up_django
from bench.stack import ROOT, Figure, percentile, print_table
from tests.servers import RedisServer

FREE, DISPATCHERS = 100, 4
TARGET_MS = {"sqlite": 100, "postgresql": 50}
TARGET_A_SECOND = 200
#: From the commit of a submission to the call of its provider: for half of them, and for all but one in a hundred.
TARGET_P50_MS, TARGET_P99_MS = 50, 250
SUBMITS_A_SECOND = 20
TICK_MS = 5000
ROUNDS = 7


def decide_ms(rounds: int = ROUNDS) -> float:
    """The median time of the decision about all free slots."""
    from queueing.claims import choose_entries

    return median(timed(lambda: len(choose_entries(FREE))) for _ in range(rounds))


def timed(action: Callable[[], int]) -> float:
    began = time.perf_counter()
    got = action()
    took = (time.perf_counter() - began) * 1000
    if got != FREE:
        raise SystemExit(f"{got} entries went, not {FREE}")
    return took


def baseline_ms() -> float:
    """Loading all that waits, for each of the picks."""
    from django.utils import timezone

    from queueing.limits import candidate_of, current_limits, current_usage, queue_state
    from queueing.models import QueueEntry
    from queueing.policy import choose

    began = time.perf_counter()
    waiting = map(candidate_of, QueueEntry.objects.filter(status="pending").in_order())
    choose(waiting, current_usage(), current_limits(queue_state()), timezone.now(), at_most=1)
    return (time.perf_counter() - began) * 1000 * FREE


def claim_ms(rounds: int = 3) -> float:
    """The median time of deciding and claiming, history and all; each time rolled back."""
    return median(_claimed_and_rolled_back() for _ in range(rounds))


def _claimed_and_rolled_back() -> float:
    from django.db import transaction

    from queueing.claims import claim_next

    with transaction.atomic():
        took = timed(lambda: len(claim_next(FREE)))
        transaction.set_rollback(True)
    return took


def statements(action: Callable[[], object]) -> int:
    """How many statements `action` sends."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as sent:
        action()
    return len(sent)


def measure_pass(kind: str, waiting: int, finished: int) -> list[Figure]:
    with database(kind):
        from django.db import connection

        add_provider(InstantProvider())
        users, organizations = make_people()
        make_waiting(waiting, users, organizations)
        set_limits(FREE, 2, 10)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        target, before, baseline = TARGET_MS[kind], decide_ms(), baseline_ms()
        claimed = claim_ms()
        make_finished(finished)
        crowded = f"{kind}: the same, with {finished:,} finished"
        return [
            Figure(f"{kind}: decide on {FREE} of {waiting:,}", before, "ms", baseline, target),
            Figure(crowded, decide_ms(), "ms", before, target),
            Figure(f"{kind}: decide and claim {FREE}, history and all", claimed, "ms", baseline, target),
            Figure(crowded, claim_ms(), "ms", claimed, target),
            Figure(f"{kind}: statements of that", statements(_claimed_and_rolled_back)),
        ]


def be_dispatcher() -> None:
    """Dispatch until nothing waits; print for each job the milliseconds from its claim to its call, and the CPU's."""
    set_up_django()
    from queueing import dispatch
    from queueing.models import QueueEntry

    provider = add_provider(InstantProvider())
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    while QueueEntry.objects.filter(status="pending").exists():
        dispatch.run_pass()
    used = (time.process_time() - began) * 1000
    claimed = QueueEntry.objects.filter(job__in=provider.called_at).values_list("job_id", "dispatched_at")
    ways = [(provider.called_at[job_id] - at.timestamp()) * 1000 for job_id, at in claimed]
    print(json.dumps({"cpu": used, "ways": ways}), flush=True)


def run_dispatchers(count: int, jobs: int) -> tuple[float, list[float], float]:
    """How many jobs a second `count` dispatchers hand over, the ways from claim to call, and the CPU time of each."""
    command = [sys.executable, "-m", "bench.bench_queue", "--dispatcher"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in processes:
        process.stdout.readline()
    began = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.stdout.readline()) for process in processes]
    took = time.perf_counter() - began
    for process in processes:
        process.communicate()
    ways = [way for answer in answers for way in answer["ways"]]
    if len(ways) != jobs:
        raise SystemExit(f"{len(ways)} jobs were handed over, not {jobs}")
    return jobs / took, ways, sum(answer["cpu"] for answer in answers) / jobs


def measure_dispatch(jobs: int) -> list[Figure]:
    with database("postgresql"):
        users, organizations = make_people()
        set_limits(1_000_000, 1_000_000, 1_000_000)
        make_waiting(jobs // 4, users, organizations)
        alone, *_ = run_dispatchers(1, jobs // 4)
        make_waiting(jobs, users, organizations)
        rate, ways, cpu = run_dispatchers(DISPATCHERS, jobs)
    return [
        Figure(f"dispatches a second, {DISPATCHERS} dispatchers (1)", rate, "/s", alone, TARGET_A_SECOND, True),
        Figure("  CPU of a dispatch (so many would fill one core)", cpu, "ms", target=2 * 1000 / TARGET_A_SECOND),
        Figure("  claim to provider call under that load, p50", percentile(ways, 50), "ms"),
        Figure("  claim to provider call under that load, p99", percentile(ways, 99), "ms"),
    ]


class NotingProvider(InstantProvider):
    """Writes down when it was asked where the submitter can read it."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.notes = notes

    async def submit(self, spec: Any) -> Any:
        with self.notes.open("a") as file:  # one short write in append mode: whole or not at all
            file.write(f"{spec.job_id} {time.time()}\n")
        return await super().submit(spec)


def be_workers(notes: Path) -> None:
    """A cluster of task workers, as the background runs it, until its standard input ends."""
    set_up_django()
    from django_q.cluster import Cluster

    add_provider(NotingProvider(notes))
    cluster = Cluster()
    cluster.start()
    print("ready", flush=True)
    sys.stdin.read()
    cluster.stop()


def submit_some(count: int) -> dict[str, float]:
    """Submissions at an even pace, each with the moment of its commit."""
    from django.contrib.auth.models import User
    from django.db import transaction

    from approvals.intake import SubmissionRequest, submit
    from cloudtrain_site.database.unit_of_work import unit_of_work
    from cloudtrain_site.states import Source
    from jobs.configs.submission import Submission
    from jobs.models import Membership, Organization

    user, team = User.objects.create(username="bench"), Organization.objects.create(name="bench")
    Membership.objects.create(user=user, organization=team, role="researcher")
    submission_request = SubmissionRequest(user, team, Submission("instant", {}, "bench", "cpu"), Source.API)
    moments: list[float] = []
    committed, began = {}, time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / SUBMITS_A_SECOND - time.monotonic()))
        with unit_of_work():
            transaction.on_commit(lambda: moments.append(time.time()))  # the first of all that follows the commit
            job_id = submit(submission_request).job.pk
        committed[job_id] = moments[-1]
    return committed


def measure_latency(submits: int) -> list[Figure]:
    redis = RedisServer.start()
    os.environ |= {"REDIS_URL": redis.url, "CLOUDTRAIN_WORKERS": str(DISPATCHERS)}
    try:
        with database("postgresql"), tempfile.TemporaryDirectory() as folder:
            from approvals.models import ApprovalRule

            ApprovalRule.objects.update(enabled=False)
            set_limits(1_000_000, 1_000_000, 1_000_000)
            ways = _ways_of(submits, Path(folder) / "notes")
    finally:
        redis.stop()
    return [
        Figure("submit's commit to provider call, p50", percentile(ways, 50), "ms", TICK_MS / 2, TARGET_P50_MS),
        Figure("submit's commit to provider call, p99", percentile(ways, 99), "ms", TICK_MS, TARGET_P99_MS),
    ]


def _ways_of(submits: int, notes: Path) -> list[float]:
    """The milliseconds from commit to call of each submission, with the workers in a process of their own."""
    notes.touch()
    command = [sys.executable, "-m", "bench.bench_queue", "--workers", str(notes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    role = {**os.environ, "CLOUDTRAIN_ROLE": "worker"}
    with subprocess.Popen(command, env=role, **pipes) as workers:
        workers.stdout.readline()
        time.sleep(3)  # until each of them waits for its first task
        committed = submit_some(submits)
        deadline = time.monotonic() + 20
        while len(called := dict(line.split() for line in notes.read_text().splitlines())) < submits:
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(called)} jobs were handed over, not {submits}")
            time.sleep(0.1)
        workers.stdin.close()
    return [(float(called[job_id]) - moment) * 1000 for job_id, moment in committed.items()]


def measure(options: argparse.Namespace) -> list[Figure]:
    if options.part == "dispatch":
        return measure_dispatch(options.jobs)
    if options.part == "latency":
        return measure_latency(options.submits)
    return measure_pass(options.part, options.waiting, options.finished)


def measure_apart(part: str, options: argparse.Namespace) -> list[Figure]:
    """In a process of its own: Django can be set up on one database only."""
    names = ("waiting", "finished", "jobs", "submits")
    arguments = [word for name in names for word in (f"--{name}", str(getattr(options, name)))]
    command = [sys.executable, "-m", "bench.bench_queue", "--part", part, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    return [Figure(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--submits", type=int, default=500)
    parser.add_argument("--on", default="sqlite,postgresql,dispatch,latency")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--dispatcher", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dispatcher or options.workers:
        be_workers(options.workers) if options.workers else be_dispatcher()
        return 0
    if options.part:
        figures = measure(options)
        print(json.dumps([vars(figure) for figure in figures]))
        return 0
    figures = [figure for part in options.on.split(",") for figure in measure_apart(part, options)]
    return print_table("The queue", figures)


if __name__ == "__main__":
    sys.exit(main())
