"""One training on several nodes, and several clusters side by side."""

from __future__ import annotations

import asyncio
import re

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from jobs.statuses import JobStatus
from tests.jobs.providers.slurm.trainings import ENDLESS, start, submit
from tests.slurm import SlurmCluster

pytestmark = pytest.mark.slow

TWO_NODES = HardwareProfile("2x h100-x2", nodes=2, gpus=2, gpu_type="h100", cpus=4, memory_mb=1000)
VARIABLES = (
    'echo "rank=$NODE_RANK of=$NNODES node=$SLURMD_NODENAME world=$WORLD_SIZE gpus=$GPUS_PER_NODE '
    'seen=$CUDA_VISIBLE_DEVICES at=$MASTER_ADDR:$MASTER_PORT job=$CLOUDTRAIN_JOB_ID"; '
)


def test_each_node_runs_the_trainer_and_knows_its_rank(slurm: SlurmCluster) -> None:
    provider = slurm.provider(
        "bash", "-c", VARIABLES + 'echo "$1" > output/$NODE_RANK', "-", "{config}", profile=TWO_NODES
    )
    training = submit(provider)
    snapshot = training.ended()
    assert (snapshot.status, snapshot.error_message) == (JobStatus.COMPLETED, None)
    port = 20_000 + training.number % 10_000
    both = f"of=2 node=n{{}} world=4 gpus=2 seen=0,1 at=n1:{port} job={training.spec.job_id}"
    said = sorted(line for line in training.log().splitlines() if line.startswith("rank="))
    assert said == [f"rank=0 {both.format(1)}", f"rank=1 {both.format(2)}"]
    assert sorted(path.name for path in (training.folder / "output").iterdir()) == ["0", "1"]
    [job] = slurm.jobs(training.spec.marker)
    assert (job["nodes"], job["node_count"]) == ("n[1-2]", 2)


def test_both_nodes_are_told_to_stop(slurm: SlurmCluster) -> None:
    code = "trap 'echo saved $NODE_RANK; exit 0' TERM; echo up $NODE_RANK; while true; do sleep 0.1; done"
    training = start(slurm.provider("bash", "-c", code, profile=TWO_NODES), "up 1")
    training.wait_for_log("up 0")
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED
    assert {"saved 0", "saved 1"} <= set(training.log().splitlines())


def test_one_node_that_fails_ends_the_training_on_all(slurm: SlurmCluster) -> None:
    code = 'if [ "$NODE_RANK" = 1 ]; then echo out of memory; exit 7; fi; exec sleep 1000'
    snapshot = submit(slurm.provider("bash", "-c", code, profile=TWO_NODES)).ended()
    assert snapshot.status == JobStatus.FAILED
    assert re.match(r"The trainer ended with exit code (7|143): ", str(snapshot.error_message))
    assert "srun: error: n2: task 1: Exited with exit code 7" in str(snapshot.error_message)


def test_two_clusters_side_by_side(slurm: SlurmCluster) -> None:
    other = SlurmCluster(nodes=1).start()
    try:
        here, there = start(slurm.provider(*ENDLESS)), start(other.provider(*ENDLESS, name="slurm-two"))
        assert slurm.jobs(there.spec.marker) == other.jobs(here.spec.marker) == []
        assert asyncio.run(here.provider.find_by_marker([there.spec.marker])) == {}
        for training in (here, there):
            training.seen(JobStatus.RUNNING)
            training.cancel()
            assert training.ended().status == JobStatus.CANCELLED
    finally:
        other.stop()
