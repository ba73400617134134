"""How long it takes from a click to the trainer's process: an approval, or a submission that no rule holds.

    python -m bench.bench_click [--jobs 50] [--ticks 10]

The embedded default on SQLite, one job at a time, each of which ends at once: the trainer writes down when it was
started, and nothing else. The next click comes when the slot is free again and the queue is at rest. To stay below:
500 ms (p50). The baseline is the tick alone: the same job put into the queue without the wish for a pass that every
submission and approval makes, at moments spread evenly over the five seconds of a tick.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from bench.stack import Figure, Stack, percentile, print_table, running_stack

Click = Callable[[], str]

TARGET_MS = 500
TICK_SECONDS = 5
#: A shell is up in a millisecond, so that it is our own way to the trainer that is measured.
COMMAND = ["sh", "-c", 'date +%s%N > "$0"/started.new && mv "$0"/started.new "$0"/started', "{job_dir}"]
SETTINGS = {"providers": {"local": {"command": COMMAND, "max_running": 1}}}
CONFIG = {"max_train_steps": 1}


def until_at_rest(stack: Stack) -> None:
    """Wait until no job runs or may go, and no pass is on its way that would take the next job along."""
    from django_q.models import OrmQ

    from queueing.models import QueueEntry, QueueState
    from queueing.statuses import EntryStatus

    busy = (EntryStatus.PENDING, EntryStatus.DISPATCHING, EntryStatus.RUNNING)
    stack.until(
        lambda: (
            not QueueEntry.objects.filter(status__in=busy).exists()
            and not QueueState.objects.exclude(pass_requested_at=None).exists()
            and not OrmQ.objects.exists()
        )
    )


@dataclass(frozen=True)
class Latency:
    """Milliseconds from just before a click to its answer, to the claim of the job, and to the trainer's first word."""

    answered: float
    claimed: float
    started: float


def measure(stack: Stack, click: Click, phase: float | None = None) -> Latency:
    """Click when the queue is at rest; with `phase`, so many seconds after a tick."""
    from queueing.models import QueueEntry

    until_at_rest(stack)
    # Whatever repeats itself at whole seconds must not meet every click at the same moment.
    time.sleep(random.uniform(0.1, 0.6) if phase is None else (phase - time.time()) % TICK_SECONDS)
    clicked_at = time.time()
    job_id = click()
    answered_at = time.time()
    started = stack.folder / "jobs" / job_id / "started"
    stack.until(started.exists)
    claimed_at = QueueEntry.objects.get(job_id=job_id).dispatched_at.timestamp()
    moments = (answered_at, claimed_at, int(started.read_text()) / 1e9)
    return Latency(*((moment - clicked_at) * 1000 for moment in moments))


def submissions(stack: Stack, count: int) -> Iterator[Click]:
    """Clicks of a lead, whom the rule about first jobs exempts."""
    lead = stack.client(stack.make_member("bob", "lead"))

    def submit() -> str:
        answer = lead.post("/api/cloud/jobs/submit", json={"config": CONFIG}).raise_for_status().json()
        assert not answer["requires_approval"], answer
        return str(answer["job_id"])

    return (submit for _ in range(count))


def approvals(stack: Stack, count: int) -> Iterator[Click]:
    """Clicks of a lead on jobs that are held: each is the first one of its submitter."""
    lead = stack.client(stack.make_member("carol", "lead"))

    def prepare(number: int) -> Click:
        with stack.client(stack.make_member(f"alice-{number}", "researcher")) as submitter:
            held = submitter.post("/api/cloud/jobs/submit", json={"config": CONFIG}).raise_for_status().json()
        assert held["requires_approval"], held

        def approve() -> str:
            lead.post(f"/api/approvals/{held['approval_id']}/approve", json={"reason": "go"}).raise_for_status()
            return str(held["job_id"])

        return approve

    return map(prepare, range(count))


def entry() -> Click:
    """A job that only the tick will find: put into the queue as a submission is, without asking for a pass."""
    from django.contrib.auth.models import User

    from cloudtrain_site.states import Actor, Source
    from jobs import lifecycle
    from jobs.configs.submission import Submission
    from jobs.models import Organization
    from jobs.roles import Role
    from queueing import claims

    user, team = User.objects.get(username="bob"), Organization.objects.get(name="acme")
    actor, submission = Actor.of(user), Submission("local", CONFIG, "bench", "cpu")

    def enqueue() -> str:
        job = lifecycle.create(submission, organization=team, user=user, source=Source.API, estimated_cost=None)
        claims.enqueue(job, role=Role.LEAD, held=False, actor=actor, source=Source.API)
        return job.pk

    return enqueue


def figures(stack: Stack, jobs: int, ticks: int) -> Iterator[Figure]:
    submitted = [measure(stack, click) for click in submissions(stack, jobs)]
    approved = [measure(stack, click) for click in approvals(stack, jobs)]
    phases = [(number + 0.5) * TICK_SECONDS / ticks for number in range(ticks)]
    baseline = [measure(stack, entry(), phase).started for phase in phases]
    for name, latencies in (("submit", submitted), ("approve", approved)):
        started = [latency.started for latency in latencies]
        yield Figure(f"{name} to trainer, p50", median(started), "ms", median(baseline), TARGET_MS)
        yield Figure(f"{name} to trainer, p99", percentile(started, 99), "ms", percentile(baseline, 99))
        yield Figure("  until it is answered, p50", median(latency.answered for latency in latencies), "ms")
        yield Figure("  from answer to claim, p50", median(one.claimed - one.answered for one in latencies), "ms")
        yield Figure("  from claim to trainer, p50", median(one.started - one.claimed for one in latencies), "ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=50, help="clicks of each kind")
    parser.add_argument("--ticks", type=int, default=10, help="jobs that wait for the tick, for the baseline")
    options = parser.parse_args()
    with running_stack(settings=SETTINGS) as stack:
        found = list(figures(stack, options.jobs, options.ticks))
    return print_table(f"A click to the trainer's process; baseline: the tick of {TICK_SECONDS} s alone", found)


if __name__ == "__main__":
    sys.exit(main())
