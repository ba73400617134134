"""How long it takes from a submission to the trainer's process on a Ray cluster.

    python -m bench.bench_ray_click [--jobs 20]

The whole site on SQLite, a real Ray of this machine, one job at a time, each of which ends at once. To stay below: 4 s
(p50). The baseline is Ray's own part: an entrypoint that writes down when it was started, submitted by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median

import httpx

from bench.bench_click import COMMAND, CONFIG, Latency, until_at_rest
from bench.stack import Figure, Stack, percentile, print_table, running_stack
from examples.clusters.ray import RayCluster
from tests.wait import wait_until

TARGET_MS = 4000


def settings_of(cluster: RayCluster) -> dict[str, object]:
    os.environ["BENCH_RAY_TOKEN"] = cluster.token
    shared = cluster.folder / "shared"
    shared.mkdir()
    instance = {
        "kind": "ray",
        "address": cluster.address,
        "token": "${BENCH_RAY_TOKEN}",
        "shared_folder": str(shared),
        "python": cluster.python,
        "command": COMMAND,
        "hardware": {"cpu": {"cost_per_second": 0}},
    }
    return {"providers": {"ray-lab": instance}}


def by_hand(cluster: RayCluster, count: int) -> Iterator[float]:
    """Milliseconds from a submission to the entrypoint's first word."""
    for number in range(count):
        started = cluster.folder / f"started-{number}"
        body = {"entrypoint": f"date +%s%N > {started}.new && mv {started}.new {started}", "entrypoint_num_cpus": 1}
        submitted_at = time.time()
        headers = {"Authorization": f"Bearer {cluster.token}"}
        httpx.post(f"{cluster.address}/api/jobs/", json=body, headers=headers, timeout=30).raise_for_status()
        wait_until(started.exists, 30)
        yield (int(started.read_text()) / 1e9 - submitted_at) * 1000


def submissions(stack: Stack, cluster: RayCluster, count: int) -> Iterator[Latency]:
    from jobs.models import Job
    from queueing.models import QueueEntry

    lead = stack.client(stack.make_member("bob", "lead"))
    for _ in range(count):
        until_at_rest(stack)
        clicked_at = time.time()
        answer = lead.post("/api/cloud/jobs/submit?provider=ray-lab", json={"config": CONFIG}).raise_for_status()
        job_id = answer.json()["job_id"]
        answered_at = time.time()
        started = _wait_for_start(cluster, stack, job_id, Job)
        claimed_at = QueueEntry.objects.get(job_id=job_id).dispatched_at.timestamp()
        yield Latency(*((moment - clicked_at) * 1000 for moment in (answered_at, claimed_at, started)))


def _wait_for_start(cluster: RayCluster, stack: Stack, job_id: str, jobs: type) -> float:
    marker = stack.until(lambda: jobs.objects.get(pk=job_id).submission_marker)  # type: ignore[attr-defined]
    started: Path = cluster.folder / "shared" / marker / "process.json"
    stack.until(started.exists)
    return datetime.fromisoformat(json.loads(started.read_text())["started_at"]).timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    cluster = RayCluster()
    try:
        cluster.start_head()
        list(by_hand(cluster, 1))  # the first submission to a cluster takes a second more
        with running_stack(settings=settings_of(cluster)) as stack:
            measured = list(submissions(stack, cluster, options.jobs))
        alone = list(by_hand(cluster, options.jobs))
    finally:
        cluster.stop()
    started = [latency.started for latency in measured]
    found = [
        Figure("submission to trainer on Ray, p50", median(started), "ms", median(alone), TARGET_MS),
        Figure("submission to trainer on Ray, p99", percentile(started, 99), "ms", percentile(alone, 99)),
        Figure("  until it is answered, p50", median(one.answered for one in measured), "ms"),
        Figure("  from answer to claim, p50", median(one.claimed - one.answered for one in measured), "ms"),
        Figure("  from claim to trainer, p50", median(one.started - one.claimed for one in measured), "ms"),
    ]
    return print_table("A submission to the trainer's process on Ray; baseline: Ray's own part", found)


if __name__ == "__main__":
    sys.exit(main())
