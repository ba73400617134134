"""What trainings on a Slurm cluster cost the site, on a real Slurm of this machine.

    python -m bench.bench_slurm [--jobs 500] [--submissions 50]

Two nodes on the loopback address, and a database on SQLite. Most of the jobs wait at the cluster; the others sleep.
To reach: one cycle over 500 active jobs in 1 s with at most 3 requests; 50 submissions at once in 3 s; a log of 50 MB
that grows is followed with less than 2 % of a core.
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
from jobs.models import Job, Organization  # noqa: E402
from jobs.providers.local import log  # noqa: E402
from jobs.providers.slurm.client import Connection  # noqa: E402
from jobs.roles import Role  # noqa: E402
from jobs.statuses import JobStatus  # noqa: E402
from jobs.sync import refresh  # noqa: E402
from queueing import claims, dispatch  # noqa: E402
from queueing.models import QueueEntry, QueueState  # noqa: E402
from tests.slurm import CPUS, SlurmCluster  # noqa: E402
from tests.wait import wait_until  # noqa: E402

CYCLE_MS, CYCLE_REQUESTS, SUBMISSION_MS = 1000, 3, 3000
#: With 8 CPUs each.
PLACES = 2 * CPUS // 8
CYCLES, LOOKS = 5, 10
LOG_BYTES = 50_000_000
#: A trainer that writes so much in an interval fills 50 MB in twenty minutes.
LOG_STEP_BYTES, POLL_SECONDS = 200_000, 5
LOG_MICROSECONDS = 20_000 * POLL_SECONDS  # 2 % of a core
LINE = b"Steps: 12%|##        | 1234/10000 [12:34<1:23:45, 1.75it/s, step_loss=0.0123, lr=0.0001]\r"


def declare(cluster: SlurmCluster) -> None:
    CONFIG.write_text(
        f"providers:\n  slurm-lab:\n    kind: slurm\n    address: {cluster.address}\n    user: root\n"
        f"    key_file: {cluster.folder}/jwt.key\n    shared_folder: {cluster.shared}\n"
        f"    command: {json.dumps(['sleep', '1000'])}\n"
        "    hardware: {cpu: {cpus: 8}}\n"
    )
    os.utime(CONFIG, (1_700_000_000, 1_700_000_000))


def enqueue(count: int) -> None:
    user, _ = User.objects.get_or_create(username="bob")
    team, _ = Organization.objects.get_or_create(name="acme")
    for _ in range(count):
        job = Job.objects.create(
            provider="slurm-lab",
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
    send, requests = Connection._send, []

    async def counting(self: Connection, *args: Any, **options: Any) -> Any:
        requests.append(args)
        return await send(self, *args, **options)

    Connection._send = counting  # type: ignore[method-assign]
    started, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        Connection._send = send  # type: ignore[method-assign]
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


def following() -> float:
    """Microseconds of CPU for a look at a log that grows beyond 50 MB."""
    path = FOLDER / "train.log"
    path.write_bytes(LINE * (LOG_BYTES // len(LINE)))
    log.follow_progress(path)
    step, spent = LINE * (LOG_STEP_BYTES // len(LINE)), 0.0
    for _ in range(LOOKS):
        with path.open("ab") as file:
            file.write(step)
        started = time.process_time()
        progress = log.follow_progress(path)
        spent += time.process_time() - started
    assert progress and progress.step == 1234
    return 1e6 * spent / LOOKS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--submissions", type=int, default=50)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    end_as_by_ctrl_c()
    many = {f"max_running{suffix}": 10_000 for suffix in ("", "_per_user", "_per_organization")}
    QueueState.objects.update_or_create(pk=1, defaults=many)
    cluster = SlurmCluster().start()
    try:
        declare(cluster)
        sent = submissions(options.submissions)
        fill(options.jobs)
        wait_until(lambda: sum(job["job_state"] == "RUNNING" for job in cluster.jobs()) >= PLACES, 60)
        looked = cycle()
        running = Job.objects.filter(status=JobStatus.RUNNING).count()
        waiting = QueueEntry.objects.count() - running
        found = [
            Figure(f"{options.submissions} submissions at once", 1000 * sent["seconds"], "ms", target=SUBMISSION_MS),
            Figure(f"cycle: {running} running, {waiting} waiting", 1000 * looked["seconds"], "ms", target=CYCLE_MS),
            Figure("  its requests", looked["requests"], target=CYCLE_REQUESTS),
            Figure("  its CPU", 1000 * looked["cpu"], "ms"),
            Figure("a look at a growing log of 50 MB, its CPU", following(), "us", target=LOG_MICROSECONDS),
        ]
    finally:
        cluster.stop()
    return print_table("Trainings on a real Slurm of this machine", found)


if __name__ == "__main__":
    sys.exit(main())
