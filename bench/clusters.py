"""What the benches of Ray and Slurm share: a site in this process that submits, and clicks on one with workers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.bench_click import CONFIG, Latency, until_at_rest
from bench.database import database
from bench.stack import Figure, Stack, percentile
from tests.wait import wait_until

CYCLE_MS, CYCLE_REQUESTS = 1000, 3
CYCLES = 5
#: A log of 50 MB, to which a trainer that fills it in twenty minutes adds so much from look to look.
LOG_BYTES, LOG_STEP_BYTES, LOOK_SECONDS, LOOKS = 50_000_000, 200_000, 5, 10
LOG_MICROSECONDS = 20_000 * LOOK_SECONDS  # 2 % of a core
#: The next submission waits for the end of the last one.
QUICK_POLLS = {"job_status_polling": {"interval_seconds": 5}}
LOG_LINE = "Steps: 12%|##        | 1234/10000 [12:34<1:23:45, 1.75it/s, step_loss=0.0123, lr=0.0001]"


@dataclass
class Usage:
    """Seconds, seconds of CPU, and requests."""

    seconds: float = 0.0
    cpu: float = 0.0
    requests: int = 0


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block."""
    usage, send = Usage(), httpx.AsyncClient.send

    async def counting(self: httpx.AsyncClient, *arguments: Any, **options: Any) -> httpx.Response:
        usage.requests += 1
        return await send(self, *arguments, **options)

    httpx.AsyncClient.send = counting  # type: ignore[method-assign]
    started, cpu = time.perf_counter(), time.process_time()
    try:
        yield usage
    finally:
        httpx.AsyncClient.send = send  # type: ignore[method-assign]
        usage.seconds, usage.cpu = time.perf_counter() - started, time.process_time() - cpu


@dataclass
class LoadedSite:
    """This process as a site on SQLite, without workers: what they do is called here. `folder` is the bench's own."""

    folder: Path

    def declare(self, **providers: Mapping[str, object]) -> None:
        """Have the configuration file name these providers."""
        config = self.folder / "enterprise.yaml"
        config.write_text(json.dumps({"providers": providers}))
        os.utime(config, (1_700_000_000, 1_700_000_000))  # a file of this very moment is read again and again

    def enqueue(self, provider: str, count: int) -> None:
        from django.contrib.auth.models import User

        from jobs.models import Job, Organization
        from tests.queueing.entries import enqueue

        user, _ = User.objects.get_or_create(username="bob")
        team, _ = Organization.objects.get_or_create(name="acme")
        fields = {"hardware_profile": "cpu", "config_name": "bench", "config": {"max_train_steps": 1000}}
        for _ in range(count):
            job = Job.objects.create(
                provider=provider, organization=team, submitted_by=user, correlation_id="bench", **fields
            )
            enqueue(job)

    def submissions(self, provider: str, count: int) -> Usage:
        """Measure one pass of the queue over so many jobs that wait for it."""
        from queueing import dispatch

        self.enqueue(provider, count)
        with measured() as usage:
            dispatched = dispatch.run_pass()
        assert dispatched == count, dispatched
        return usage

    def fill(self, provider: str, count: int) -> None:
        """Have the cluster take more jobs, until it has so many."""
        from jobs.models import Job
        from jobs.statuses import JobStatus
        from queueing import dispatch

        self.enqueue(provider, count - Job.objects.filter(status=JobStatus.QUEUED).count())
        wait_until(lambda: (dispatch.run_pass(), Job.objects.filter(status=JobStatus.PENDING).count() == 0)[1], 120)

    def cycle(self) -> Usage:
        """Measure the dearest of some polls in which little changes, as most are."""
        from cloudtrain_site.states import Source
        from jobs.sync import refresh

        refresh.refresh(refresh.active_jobs(), source=Source.POLL)
        usages = []
        for _ in range(CYCLES):
            with measured() as usage:
                outcome = refresh.refresh(refresh.active_jobs(), source=Source.POLL)
            assert not outcome.failed, outcome
            usages.append(usage)
        return max(usages, key=lambda usage: usage.seconds)

    def load_figures(self, submissions: Usage, cycle: Usage, count: int, target_ms: float) -> list[Figure]:
        from jobs.models import Job
        from jobs.statuses import JobStatus

        running, waiting = (Job.objects.filter(status=one).count() for one in (JobStatus.RUNNING, JobStatus.QUEUED))
        return [
            Figure(f"{count} submissions at once", 1000 * submissions.seconds, "ms", target=target_ms),
            Figure(f"cycle: {running} running, {waiting} waiting", 1000 * cycle.seconds, "ms", target=CYCLE_MS),
            Figure("  its requests", cycle.requests, target=CYCLE_REQUESTS),
            Figure("  its CPU", 1000 * cycle.cpu, "ms"),
        ]


@contextmanager
def loaded_site() -> Iterator[LoadedSite]:
    """A site whose queue lets everything run; declare its provider before anything is asked of it."""
    with database("sqlite"):
        from queueing.models import QueueState

        folder = Path(os.environ["SIMPLETUNER_DATA_DIR"])
        (folder / "enterprise.yaml").touch()
        os.environ["SIMPLETUNER_ENTERPRISE_CONFIG"] = str(folder / "enterprise.yaml")
        limits = {f"max_running{suffix}": 10_000 for suffix in ("", "_per_user", "_per_organization")}
        QueueState.objects.update_or_create(pk=1, defaults=limits)
        yield LoadedSite(folder)


@dataclass
class Clicks:
    """Submissions to a whole site with a cluster, one at a time, each of which ends at once.

    `start_of` returns the trainer's start in Unix seconds by a job's marker, None while there is none. `by_hand` has
    the cluster run a line of shell, as somebody does who has no site.
    """

    provider: str
    start_of: Callable[[str], float | None]
    by_hand: Callable[[str], object]
    folder: Path
    latencies: list[Latency] = field(default_factory=list)

    def submit(self, stack: Stack, count: int) -> None:
        from jobs.models import Job
        from queueing.models import QueueEntry

        lead = stack.client(stack.make_member("bob", "lead"))
        for _ in range(count):
            until_at_rest(stack)
            clicked_at = time.time()
            answer = lead.post(f"/api/cloud/jobs/submit?provider={self.provider}", json={"config": CONFIG})
            job_id = answer.raise_for_status().json()["job_id"]
            answered_at = time.time()
            marked = Job.objects.filter(pk=job_id).exclude(submission_marker=None)
            marker = str(stack.until(marked.first).submission_marker)
            started = stack.until(lambda marker=marker: self.start_of(marker))  # type: ignore[misc]
            claimed_at = QueueEntry.objects.get(job_id=job_id).dispatched_at.timestamp()
            moments = (answered_at, claimed_at, started)
            self.latencies.append(Latency(*((moment - clicked_at) * 1000 for moment in moments)))

    def alone(self, count: int) -> Iterator[float]:
        """Yield the milliseconds that the cluster takes by itself, from a submission to the script's first word."""
        for number in range(count):
            started = self.folder / f"started-{number}"
            submitted_at = time.time()
            self.by_hand(f"date +%s%N > {started}.new && mv {started}.new {started}")
            wait_until(started.exists, 30)
            yield (int(started.read_text()) / 1e9 - submitted_at) * 1000
            started.unlink()

    def figures(self, engine: str, alone: Sequence[float], target_ms: float) -> list[Figure]:
        started = [latency.started for latency in self.latencies]
        name = f"submission to trainer on {engine}"
        return [
            Figure(f"{name}, p50", median(started), "ms", median(alone), target_ms),
            Figure(f"{name}, p99", percentile(started, 99), "ms", percentile(alone, 99)),
            Figure("  until it is answered, p50", median(one.answered for one in self.latencies), "ms"),
            Figure("  from answer to claim, p50", median(one.claimed - one.answered for one in self.latencies), "ms"),
            Figure("  from claim to trainer, p50", median(one.started - one.claimed for one in self.latencies), "ms"),
        ]
