"""What trainings on a Slurm cluster cost the site, on a real Slurm of this machine.

    python -m bench.bench_slurm [--jobs 500] [--submissions 50]

Two nodes on the loopback address, and a database on SQLite. Most of the jobs wait at the cluster; the others sleep.
To reach: one cycle over 500 active jobs in 1 s with at most 3 requests; 50 submissions at once in 3 s; a log of 50 MB
that grows is followed with less than 2 % of a core.
"""

from __future__ import annotations

import argparse
import sys
import time

from bench.clusters import LOG_BYTES, LOG_LINE, LOG_MICROSECONDS, LOG_STEP_BYTES, LOOKS, LoadedSite, loaded_site
from bench.stack import Figure, print_table
from examples.clusters.slurm import CPUS
from tests.slurm import SlurmCluster
from tests.wait import wait_until

SUBMISSION_MS = 3000
#: With 8 CPUs each.
PLACES = 2 * CPUS // 8


def following(site: LoadedSite) -> float:
    """Return microseconds of CPU for a look at a log that grows beyond 50 MB."""
    from jobs.providers.local import log

    path, line = site.folder / "train.log", LOG_LINE.encode() + b"\r"
    path.write_bytes(line * (LOG_BYTES // len(line)))
    log.follow_progress(path)
    step, spent = line * (LOG_STEP_BYTES // len(line)), 0.0
    for _ in range(LOOKS):
        with path.open("ab") as file:
            file.write(step)
        started = time.process_time()
        progress = log.follow_progress(path)
        spent += time.process_time() - started
    assert progress and progress.step == 1234
    return 1e6 * spent / LOOKS


def load_figures(site: LoadedSite, jobs: int, at_once: int) -> list[Figure]:
    cluster = SlurmCluster().start()
    instance = {"kind": "slurm", "address": cluster.address, "user": cluster.user, "key_file": str(cluster.key)}
    own = {"shared_folder": str(cluster.shared), "command": ["sleep", "1000"], "hardware": {"cpu": {"cpus": 8}}}
    try:
        site.declare(**{"slurm-lab": {**instance, **own}})
        submissions = site.submissions("slurm-lab", at_once)
        site.fill("slurm-lab", jobs)
        wait_until(lambda: sum(job["job_state"] == "RUNNING" for job in cluster.jobs()) >= PLACES, 60)
        return site.load_figures(submissions, site.cycle(), at_once, SUBMISSION_MS)
    finally:
        cluster.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--submissions", type=int, default=50)
    options = parser.parse_args()
    with loaded_site() as site:
        log_cost = following(site)
        found = load_figures(site, options.jobs, options.submissions)
    found.append(Figure("a look at a growing log of 50 MB, its CPU", log_cost, "us", target=LOG_MICROSECONDS))
    return print_table("Trainings on a real Slurm of this machine", found)


if __name__ == "__main__":
    sys.exit(main())
