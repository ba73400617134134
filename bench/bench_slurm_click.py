"""How long it takes from a submission to the trainer's process on a Slurm cluster.

    python -m bench.bench_slurm_click [--jobs 20]

The whole site on SQLite, a real Slurm of this machine, one job at a time, each of which ends at once. To stay below:
2 s (p50). The baseline is Slurm's own part: a script that writes down when it was started, submitted to slurmrestd by
hand.
"""

from __future__ import annotations

import argparse
import sys

from bench.bench_click import COMMAND
from bench.clusters import QUICK_POLLS, Clicks
from bench.stack import print_table, running_stack
from tests.slurm import SlurmCluster

TARGET_MS = 2000


def settings_of(cluster: SlurmCluster) -> dict[str, object]:
    instance = {
        "kind": "slurm",
        "address": cluster.address,
        "user": cluster.user,
        "key_file": str(cluster.key),
        "shared_folder": str(cluster.shared),
        "command": COMMAND,
        "hardware": {"cpu": {"cost_per_second": 0}},
    }
    return {"providers": {"slurm-lab": instance}, "background": QUICK_POLLS}


def clicks_on(cluster: SlurmCluster) -> Clicks:
    def start_of(marker: str) -> float | None:
        path = cluster.shared / marker / "started"
        return int(path.read_text()) / 1e9 if path.exists() else None

    return Clicks("slurm-lab", start_of, cluster.run, cluster.folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    cluster = SlurmCluster().start()
    clicks = clicks_on(cluster)
    try:
        with running_stack(settings=settings_of(cluster)) as stack:
            clicks.submit(stack, options.jobs)
        alone = list(clicks.alone(options.jobs))
    finally:
        cluster.stop()
    title = "A submission to the trainer's process on Slurm; baseline: Slurm's own part"
    return print_table(title, clicks.figures("Slurm", alone, TARGET_MS))


if __name__ == "__main__":
    sys.exit(main())
