"""How long it takes from a submission to the trainer's process on a Slurm cluster.

    python -m bench.bench_slurm_click [--jobs 20]

The whole site on SQLite, a real Slurm of this machine, one job at a time, each of which ends at once. To stay below:
2 s (p50). The baseline is Slurm's own part: a script that writes down when it was started, submitted to slurmrestd by
hand.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from statistics import median

from bench.bench_click import COMMAND, CONFIG, Latency, until_at_rest
from bench.stack import Figure, Stack, percentile, print_table, running_stack
from tests.slurm import SlurmCluster
from tests.wait import wait_until

TARGET_MS = 2000


def settings_of(cluster: SlurmCluster) -> dict[str, object]:
    instance = {
        "kind": "slurm",
        "address": cluster.address,
        "user": "root",
        "key_file": str(cluster.folder / "jwt.key"),
        "shared_folder": str(cluster.shared),
        "command": COMMAND,
        "hardware": {"cpu": {}},
    }
    return {
        "providers": {"slurm-lab": instance},
        # The next submission waits for the end of the last one.
        "background": {"job_status_polling": {"interval_seconds": 5}},
    }


def by_hand(cluster: SlurmCluster, count: int) -> Iterator[float]:
    """Milliseconds from a submission to the script's first word."""
    for number in range(count):
        started = cluster.folder / f"started-{number}"
        submitted_at = time.time()
        cluster.run(f"date +%s%N > {started}.new && mv {started}.new {started}")
        wait_until(started.exists, 30)
        yield (int(started.read_text()) / 1e9 - submitted_at) * 1000


def submissions(stack: Stack, cluster: SlurmCluster, count: int) -> Iterator[Latency]:
    from approvals.models import ApprovalRule
    from jobs.models import Job
    from queueing.models import QueueEntry

    ApprovalRule.objects.all().delete()  # the cost of jobs here is not known, which would hold them
    lead = stack.client(stack.make_member("bob", "lead"))
    for _ in range(count):
        until_at_rest(stack)
        clicked_at = time.time()
        answer = lead.post("/api/cloud/jobs/submit?provider=slurm-lab", json={"config": CONFIG}).raise_for_status()
        job_id = answer.json()["job_id"]
        answered_at = time.time()
        job = Job.objects.filter(pk=job_id).exclude(submission_marker=None)
        marker = stack.until(job.first).submission_marker
        path = cluster.shared / marker / "started"
        stack.until(path.exists)
        started = int(path.read_text()) / 1e9
        claimed_at = QueueEntry.objects.get(job_id=job_id).dispatched_at.timestamp()
        yield Latency(*((moment - clicked_at) * 1000 for moment in (answered_at, claimed_at, started)))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    cluster = SlurmCluster().start()
    try:
        with running_stack(settings=settings_of(cluster)) as stack:
            measured = list(submissions(stack, cluster, options.jobs))
        alone = list(by_hand(cluster, options.jobs))
    finally:
        cluster.stop()
    started = [latency.started for latency in measured]
    found = [
        Figure("submission to trainer on Slurm, p50", median(started), "ms", median(alone), TARGET_MS),
        Figure("submission to trainer on Slurm, p99", percentile(started, 99), "ms", percentile(alone, 99)),
        Figure("  until it is answered, p50", median(one.answered for one in measured), "ms"),
        Figure("  from answer to claim, p50", median(one.claimed - one.answered for one in measured), "ms"),
        Figure("  from claim to trainer, p50", median(one.started - one.claimed for one in measured), "ms"),
    ]
    return print_table("A submission to the trainer's process on Slurm; baseline: Slurm's own part", found)


if __name__ == "__main__":
    sys.exit(main())
