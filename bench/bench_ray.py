"""What trainings on a Ray cluster cost the site, on a real Ray of this machine.

    python -m bench.bench_ray [--jobs 500] [--submissions 50]

A head with two CPUs, and a database on SQLite. Most of the jobs wait at the cluster, for two may run.
To reach: one cycle over 500 active jobs in 1 s with at most 3 requests; 50 submissions at once in 10 s; a log of 50 MB
that grows is followed with less than 2 % of a core, on a shared folder and at Ray itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(tempfile.mkdtemp(prefix="cloudtrain-bench-"))
CONFIG = FOLDER / "enterprise.yaml"
CONFIG.touch()
os.environ.update(
    SIMPLETUNER_DATA_DIR=str(FOLDER),
    SIMPLETUNER_ENTERPRISE_CONFIG=str(CONFIG),
    SIMPLETUNER_LOG_LEVEL="WARNING",
    SECRET_KEY="only-for-the-bench",
)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from bench.ending import end_as_by_ctrl_c  # noqa: E402
from bench.stack import Figure, print_table  # noqa: E402
from cloudtrain_site.states import SYSTEM, Source  # noqa: E402
from examples.clusters.ray import RayCluster  # noqa: E402
from jobs.models import Job, Organization  # noqa: E402
from jobs.providers.ray.client import Connection  # noqa: E402
from jobs.roles import Role  # noqa: E402
from jobs.statuses import JobStatus  # noqa: E402
from jobs.sync import refresh  # noqa: E402
from queueing import claims, dispatch  # noqa: E402
from queueing.models import QueueEntry, QueueState  # noqa: E402
from tests.wait import wait_until  # noqa: E402

CYCLE_MS, CYCLE_REQUESTS, SUBMISSION_MS = 1000, 3, 10_000
CYCLES, LOOKS = 5, 10
LOG_BYTES = 50_000_000
#: A trainer that writes so much in an interval fills 50 MB in twenty minutes.
LOG_STEP_BYTES, VIEW_SECONDS = 200_000, 5
LOG_MICROSECONDS = 20_000 * VIEW_SECONDS  # 2 % of a core
ROUND, DONE = FOLDER / "round", FOLDER / "round.done"
LINE = "Steps: 12%|##        | 1234/10000 [12:34<1:23:45, 1.75it/s, step_loss=0.0123, lr=0.0001]\\n"
#: Fills the log, and then adds to it in each round.
WRITER = """
import os, sys, time
line, step, path = '{line}', {step}, {path!r}
sys.stdout.write(line * ({size} // len(line))); sys.stdout.flush()
seen = 0
while True:
    now = int(open(path).read() or 0)
    if now > seen:
        sys.stdout.write(line * (step // len(line))); sys.stdout.flush()
        seen = now
        open(path + '.done', 'w').write(str(now))
    time.sleep(0.02)
"""


def declare(cluster: RayCluster) -> None:
    command = ["{python}", "-S", "-c", WRITER.format(line=LINE, step=LOG_STEP_BYTES, size=LOG_BYTES, path=str(ROUND))]
    os.environ["BENCH_RAY_TOKEN"] = cluster.token
    common = {"kind": "ray", "address": cluster.address, "token": "${BENCH_RAY_TOKEN}", "grace_seconds": 1}
    (FOLDER / "shared").mkdir(exist_ok=True)
    instances = {
        "ray-lab": {**common, "command": ["sleep", "1000"], "hardware": {"cpu": {}}},
        "ray-bare": {**common, "command": command, "hardware": {"cpu": {}}},
        "ray-shared": {**common, "command": command, "hardware": {"cpu": {}}, "shared_folder": str(FOLDER / "shared")},
    }
    CONFIG.write_text(json.dumps({"providers": instances}))
    os.utime(CONFIG, (1_700_000_000, 1_700_000_000))


def enqueue(count: int, provider: str = "ray-lab") -> None:
    user, _ = User.objects.get_or_create(username="bob")
    team, _ = Organization.objects.get_or_create(name="acme")
    for _ in range(count):
        job = Job.objects.create(
            provider=provider,
            organization=team,
            submitted_by=user,
            hardware_profile="cpu",
            config_name="bench",
            config={"max_train_steps": 1000},
            correlation_id="bench",
        )
        claims.enqueue(job, role=Role.LEAD, held=False, actor=SYSTEM, source=Source.API)


@contextmanager
def counted(usage: dict[str, float]) -> Iterator[None]:
    """Seconds, seconds of CPU and requests of the block."""
    send, requests = Connection.send, []

    async def counting(self: Connection, *args: Any, **options: Any) -> Any:
        requests.append(args)
        return await send(self, *args, **options)

    Connection.send = counting  # type: ignore[method-assign]
    started, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        Connection.send = send  # type: ignore[method-assign]
    usage.update(seconds=time.perf_counter() - started, cpu=time.process_time() - cpu, requests=len(requests))


def submissions(count: int) -> dict[str, float]:
    """One pass of the queue over so many jobs that wait for it."""
    enqueue(count)
    usage: dict[str, float] = {}
    with counted(usage):
        dispatched = dispatch.run_pass()
    assert dispatched == count, dispatched
    return usage


def fill(count: int) -> None:
    enqueue(count - Job.objects.filter(status=JobStatus.QUEUED).count())
    wait_until(lambda: (dispatch.run_pass(), Job.objects.filter(status=JobStatus.PENDING).count() == 0)[1], 120)


def cycle() -> dict[str, float]:
    """The dearest of some polls in which little changes, as most are."""
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    worst: dict[str, float] = {"seconds": 0.0}
    for _ in range(CYCLES):
        usage: dict[str, float] = {}
        with counted(usage):
            outcome = refresh.refresh(refresh.active_jobs(), source=Source.POLL)
        assert not outcome.failed, outcome
        worst = max(worst, usage, key=lambda one: one["seconds"])
    return worst


def following(provider: str) -> float:
    """Microseconds of CPU for a look at a log that grows beyond 50 MB, stored as it is each time."""
    ROUND.write_text("0")
    enqueue(1, provider)
    dispatch.run_pass()
    look(provider)
    wait_until(lambda: look(provider) >= LOG_BYTES - LOG_STEP_BYTES, 120)
    spent, size = 0.0, look(provider)
    for number in range(1, LOOKS + 1):
        ROUND.write_text(str(number))
        wait_until(lambda text=str(number): DONE.exists() and DONE.read_text() == text, 30)
        started = time.process_time()
        new = look(provider)
        spent += time.process_time() - started
        assert new > size, (new, size)
        size = new
    DONE.unlink()
    Job.objects.filter(provider=provider).delete()
    return 1e6 * spent / LOOKS


def look(provider: str) -> int:
    """Look at the log as for somebody who views it. Returns how much of it is stored."""
    refresh.refresh(list(Job.objects.filter(provider=provider)), source=Source.POLL, with_logs=True)
    return Job.objects.get(provider=provider).log_size


def logs() -> list[Figure]:
    cluster = RayCluster()
    try:
        cluster.start_head()
        declare(cluster)
        return [
            Figure(f"CPU of a look at a growing 50 MB log {where}", following(name), "us", target=LOG_MICROSECONDS)
            for name, where in (("ray-shared", "shared"), ("ray-bare", "at Ray"))
        ]
    finally:
        cluster.stop()


def many(jobs: int, at_once: int) -> list[Figure]:
    cluster = RayCluster()
    try:
        cluster.start_head()
        declare(cluster)
        sent = submissions(at_once)
        fill(jobs)
        wait_until(lambda: '"RUNNING"' in cluster.get("/api/jobs/").text, 60)
        looked = cycle()
        running = Job.objects.filter(status=JobStatus.RUNNING).count()
        return [
            Figure(f"{at_once} submissions at once", 1000 * sent["seconds"], "ms", target=SUBMISSION_MS),
            Figure(
                f"cycle: {running} running, {QueueEntry.objects.count() - running} waiting",
                1000 * looked["seconds"],
                "ms",
                target=CYCLE_MS,
            ),
            Figure("  its requests", looked["requests"], target=CYCLE_REQUESTS),
            Figure("  its CPU", 1000 * looked["cpu"], "ms"),
        ]
    finally:
        cluster.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--submissions", type=int, default=50)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    end_as_by_ctrl_c()
    limits = {f"max_running{suffix}": 10_000 for suffix in ("", "_per_user", "_per_organization")}
    QueueState.objects.update_or_create(pk=1, defaults=limits)
    found = [*logs(), *many(options.jobs, options.submissions)]
    return print_table("Trainings on a real Ray of this machine", found)


if __name__ == "__main__":
    sys.exit(main())
