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
from datetime import datetime
from pathlib import Path

import httpx

from bench.bench_click import COMMAND
from bench.clusters import QUICK_POLLS, Clicks
from bench.stack import print_table, running_stack
from examples.clusters.ray import RayCluster

TARGET_MS = 4000


def settings_of(cluster: RayCluster, shared: Path) -> dict[str, object]:
    os.environ["BENCH_RAY_TOKEN"] = cluster.token
    instance = {
        "kind": "ray",
        "address": cluster.address,
        "token": "${BENCH_RAY_TOKEN}",
        "shared_folder": str(shared),
        "python": cluster.python,
        "command": COMMAND,
        "hardware": {"cpu": {"cost_per_second": 0}},
    }
    return {"providers": {"ray-lab": instance}, "background": QUICK_POLLS}


def clicks_on(cluster: RayCluster, shared: Path) -> Clicks:
    def start_of(marker: str) -> float | None:
        path = shared / marker / "process.json"
        return datetime.fromisoformat(json.loads(path.read_text())["started_at"]).timestamp() if path.exists() else None

    def by_hand(line: str) -> None:
        body = {"entrypoint": line, "entrypoint_num_cpus": 1}
        headers = {"Authorization": f"Bearer {cluster.token}"}
        httpx.post(f"{cluster.address}/api/jobs/", json=body, headers=headers, timeout=30).raise_for_status()

    return Clicks("ray-lab", start_of, by_hand, cluster.folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    cluster = RayCluster()
    shared = cluster.folder / "shared"
    shared.mkdir()
    clicks = clicks_on(cluster, shared)
    try:
        cluster.start_head()
        list(clicks.alone(1))  # the first submission to a cluster takes a second more
        with running_stack(settings=settings_of(cluster, shared)) as stack:
            clicks.submit(stack, options.jobs)
        alone = list(clicks.alone(options.jobs))
    finally:
        cluster.stop()
    title = "A submission to the trainer's process on Ray; baseline: Ray's own part"
    return print_table(title, clicks.figures("Ray", alone, TARGET_MS))


if __name__ == "__main__":
    sys.exit(main())
