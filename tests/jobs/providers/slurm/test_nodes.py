"""What a look at a cluster shows, and which hardware profiles no node can ever run."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from examples.clusters.slurm import CPUS, GPUS, MEMORY_MB
from jobs.providers.clusters.view import Node, ReportsNodes
from jobs.providers.slurm.nodes import is_usable, view_of, why_unrunnable
from jobs.providers.slurm.provider import SlurmProvider
from jobs.providers.slurm.shapes import SlurmNode, SlurmPartition
from jobs.statuses import JobStatus
from tests.jobs.providers.slurm.trainings import ENDLESS, start
from tests.slurm import SlurmCluster

BIG = SlurmNode("big", "idle", "", ["gpu"], 64, 512_000, {"h100": 8})
MIXED = SlurmNode("mixed", "mixed", "", ["gpu", "main"], 32, 128_000, {"a100": 2, "l40s": 2}, used_gpus=3)
PLAIN = SlurmNode("plain", "idle+drain", "disk", ["main"], 16, 64_000)
NODES = [BIG, MIXED, PLAIN]
PARTITIONS = [SlurmPartition("main", True, 600), SlurmPartition("gpu", False, None)]
H100 = HardwareProfile("h100", partition="gpu", gpus=1, gpu_type="h100")


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (H100, ""),
        (replace(H100, gpus=8), ""),
        (HardwareProfile("any", gpus=4, partition="main"), ""),
        (HardwareProfile("cpu"), ""),
        (HardwareProfile("either", partition="main,gpu", gpus=8), ""),
        (replace(H100, nodes=1, time_limit_minutes=100_000), ""),
        (HardwareProfile("long", time_limit_minutes=600), ""),
        (
            replace(H100, gpus=9),
            "It asks for 9 GPUs of type h100 on one node, but no node of partition gpu has more than 8.",
        ),
        (
            replace(H100, partition=""),
            "It asks for 1 GPU of type h100 on one node, but no node of partition main has more than 0.",
        ),
        (replace(H100, nodes=2), "It asks for 2 nodes, but partition gpu has only 1 with what it asks for."),
        (
            HardwareProfile("typo", partition="gpus"),
            "There is no partition “gpus” on this cluster; it has gpu, main.",
        ),
        (
            HardwareProfile("x", cpus=65, partition="main,gpu"),
            "It asks for 65 CPUs on one node, but no node of partitions main, gpu has more than 64.",
        ),
        (
            HardwareProfile("x", memory_mb=128_001),
            "It asks for 128001 MB of memory on one node, but no node of partition main has more than 128000.",
        ),
        (HardwareProfile("x", time_limit_minutes=601), "It asks for 601 minutes; partition main allows 600."),
        (
            HardwareProfile("x", partition="gpu", gpus=3, gpu_type="a100"),
            "It asks for 3 GPUs of type a100 on one node, but no node of partition gpu has more than 2.",
        ),
        (
            HardwareProfile("x", partition="gpu", gpus=8, memory_mb=100_000, cpus=33, nodes=2),
            "It asks for 2 nodes, but partition gpu has only 1 with what it asks for.",
        ),
    ],
)
def test_what_no_node_can_run(profile: HardwareProfile, reason: str) -> None:
    assert why_unrunnable(profile, NODES, PARTITIONS) == reason


def test_a_cluster_that_does_not_say_which_partition_is_the_default() -> None:
    partitions = [replace(partition, is_default=False) for partition in PARTITIONS]
    assert why_unrunnable(replace(H100, partition=""), NODES, partitions) == ""
    assert why_unrunnable(HardwareProfile("x"), [], partitions) == "There are no nodes in this cluster."


@pytest.mark.parametrize("state", ["idle", "mixed", "allocated", "completing", "idle+planned", "idle+cloud"])
def test_a_node_that_takes_trainings(state: str) -> None:
    assert is_usable(replace(BIG, state=state))


@pytest.mark.parametrize("state", ["down", "idle+drain", "mixed+drain", "down+not_responding", "idle+maintenance"])
def test_a_node_that_takes_none(state: str) -> None:
    assert not is_usable(replace(BIG, state=state))


def test_a_view_has_free_gpus_and_says_why_a_node_is_out() -> None:
    view = view_of("22.05.8", NODES, PARTITIONS, {"h100": H100, "x": HardwareProfile("x", cpus=99)})
    assert view.version == "22.05.8"
    assert [node.free_gpus for node in view.nodes] == [8, 1, 0]
    assert view.nodes[1].resources == {"a100": 2.0, "l40s": 2.0}
    assert list(view.unrunnable) == ["x"]
    assert list(view.warnings) == ["plain is idle+drain: disk."]


def test_a_look_at_a_real_cluster(slurm: SlurmCluster) -> None:
    hardware = {"h100": HardwareProfile("h100", gpus=1, gpu_type="h100"), "h100-x8": HardwareProfile("x8", gpus=8)}
    provider = SlurmProvider(slurm.instance(hardware=hardware))
    assert isinstance(provider, ReportsNodes)
    view = asyncio.run(provider.look())
    assert view.version == "22.05.8"
    node = Node("n1", "idle", True, CPUS, MEMORY_MB, GPUS, GPUS, {"h100": float(GPUS)})
    assert list(view.nodes) == [node, replace(node, name="n2")]
    reason = "It asks for 8 GPUs on one node, but no node of partition main has more than 2."
    assert (view.unrunnable, list(view.warnings)) == ({"h100-x8": reason}, [])
    assert asyncio.run(provider.validate()) == (
        f"Slurm 22.05.8 takes jobs of root. 2 of 2 nodes can be used, with 4 GPUs. h100-x8: {reason}"
    )


@pytest.mark.slow
def test_gpus_that_a_training_has_are_not_free(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS, profile=HardwareProfile("x", gpus=1, gpu_type="h100")))
    training.seen(JobStatus.RUNNING)
    view = asyncio.run(training.provider.look())
    assert sorted(node.free_gpus or 0 for node in view.nodes) == [1, 2]
