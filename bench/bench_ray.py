"""What trainings on a Ray cluster cost the site, on a real Ray of this machine.

    python -m bench.bench_ray [--jobs 500] [--submissions 50]

A head with two CPUs, and a database on SQLite. Most of the jobs wait at the cluster, for two may run.
To reach: one cycle over 500 active jobs in 1 s with at most 3 requests; 50 submissions at once in 10 s; a log of 50 MB
that grows is followed with less than 2 % of a core, on a shared folder and at Ray itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.clusters import LOG_BYTES, LOG_LINE, LOG_MICROSECONDS, LOG_STEP_BYTES, LOOKS, LoadedSite, loaded_site
from bench.stack import Figure, print_table
from examples.clusters.ray import RayCluster
from tests.wait import wait_until

SUBMISSION_MS = 10_000
#: Fills the log, and then adds to it in each round.
WRITER = """
import os, sys, time
line, step, path = {line!r} + chr(10), {step}, {path!r}
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


@contextmanager
def declared_cluster(site: LoadedSite) -> Iterator[RayCluster]:
    """A cluster under three names: for jobs that wait, and for logs with and without a shared folder."""
    shared, cluster = site.folder / "shared", RayCluster()
    shared.mkdir(exist_ok=True)
    writer = WRITER.format(line=LOG_LINE, step=LOG_STEP_BYTES, size=LOG_BYTES, path=str(site.folder / "round"))
    command = ["{python}", "-S", "-c", writer]
    os.environ["BENCH_RAY_TOKEN"] = cluster.token
    common = {"kind": "ray", "address": cluster.address, "token": "${BENCH_RAY_TOKEN}", "grace_seconds": 1}
    common["hardware"] = {"cpu": {}}
    try:
        cluster.start_head()
        site.declare(
            **{
                "ray-lab": {**common, "command": ["sleep", "1000"]},
                "ray-bare": {**common, "command": command},
                "ray-shared": {**common, "command": command, "shared_folder": str(shared)},
            }
        )
        yield cluster
    finally:
        cluster.stop()


def following(site: LoadedSite, provider: str) -> float:
    """Return microseconds of CPU for a look at a log that grows beyond 50 MB, stored as it is each time."""
    from cloudtrain_site.states import SYSTEM, Source
    from jobs import lifecycle
    from jobs.models import Job
    from jobs.statuses import JobStatus
    from queueing import dispatch

    number, done = site.folder / "round", site.folder / "round.done"
    number.write_text("0")
    site.enqueue(provider, 1)
    dispatch.run_pass()
    wait_until(lambda: look(provider) >= LOG_BYTES - LOG_STEP_BYTES, 120)
    spent, size = 0.0, look(provider)
    for text in map(str, range(1, LOOKS + 1)):
        number.write_text(text)
        wait_until(lambda text=text: done.exists() and done.read_text() == text, 30)
        started = time.process_time()
        new = look(provider)
        spent += time.process_time() - started
        assert new > size, (new, size)
        size = new
    done.unlink()
    job = Job.objects.get(provider=provider)
    assert lifecycle.finish(job, JobStatus.CANCELLED, actor=SYSTEM, source=Source.API, reason="measured")
    return 1e6 * spent / LOOKS


def look(provider: str) -> int:
    """Look at the log as for somebody who views it. Returns how much of it is stored."""
    from cloudtrain_site.states import Source
    from jobs.models import Job
    from jobs.sync import refresh

    refresh.refresh(list(Job.objects.filter(provider=provider)), source=Source.POLL, with_logs=True)
    return Job.objects.get(provider=provider).log_size


def log_figures(site: LoadedSite) -> list[Figure]:
    with declared_cluster(site):
        return [
            Figure(
                f"CPU of a look at a growing 50 MB log {where}", following(site, name), "us", target=LOG_MICROSECONDS
            )
            for name, where in (("ray-shared", "shared"), ("ray-bare", "at Ray"))
        ]


def load_figures(site: LoadedSite, jobs: int, at_once: int) -> list[Figure]:
    with declared_cluster(site) as cluster:
        submissions = site.submissions("ray-lab", at_once)
        site.fill("ray-lab", jobs)
        wait_until(lambda: '"RUNNING"' in cluster.get("/api/jobs/").text, 60)
        return site.load_figures(submissions, site.cycle(), at_once, SUBMISSION_MS)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--submissions", type=int, default=50)
    options = parser.parse_args()
    with loaded_site() as site:
        found = [*log_figures(site), *load_figures(site, options.jobs, options.submissions)]
    return print_table("Trainings on a real Ray of this machine", found)


if __name__ == "__main__":
    sys.exit(main())
