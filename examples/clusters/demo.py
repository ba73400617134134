"""The cluster of the demo: started on this machine, and declared in a configuration file of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from examples.clusters.ray import RayCluster
from examples.clusters.slurm import SlurmCluster

Cluster: TypeAlias = RayCluster | SlurmCluster

ROOT = Path(__file__).resolve().parent.parent.parent


def start_cluster(kind: str, name: str, data: Path, config: Path) -> Cluster:
    """Start a cluster in the folder `data`, and write the configuration file that declares it as `name`.

    Raises MissingProgramError without its programs; TimeoutError and SubprocessError when it does not come up.
    """
    cluster, own = STARTS[kind](data)
    # The nodes of this cluster are this machine, so that they have the sample trainer where the site has it.
    command = [sys.executable, "-m", "jobs.sample_trainer", "--config", "{config}", "--dataloader", "{dataloader}"]
    instance = {
        "kind": kind,
        "address": cluster.address,
        "command": ["env", f"PYTHONPATH={ROOT}", *command, "--output-dir", "{output_dir}"],
        "python": sys.executable,
        "grace_seconds": 2,
        "hardware": {"gpu": {"gpus": 1, "cpus": 1, "cost_per_second": 0}},
    }
    polling = {"job_status_polling": {"interval_seconds": 1}}  # for who watches: a private cluster minds no requests
    # YAML reads JSON.
    config.write_text(json.dumps({"background": polling, "providers": {name: instance | own}}, indent=2))
    return cluster


def _start_slurm(data: Path) -> tuple[Cluster, dict[str, Any]]:
    cluster = SlurmCluster(nodes=2, folder=data / "slurm").start()
    return cluster, {
        "label": "Slurm on this machine",
        "user": cluster.user,
        "key_file": str(cluster.key),
        "shared_folder": str(cluster.shared),
    }


def _start_ray(data: Path) -> tuple[Cluster, dict[str, Any]]:
    cluster = RayCluster()
    try:
        cluster.start_head()
    except BaseException:
        cluster.stop()
        raise
    shared = data / "shared"
    shared.mkdir()
    return cluster, {
        "label": "Ray on this machine",
        "token_file": str(cluster.folder / "token"),
        "shared_folder": str(shared),
    }


#: By kind, what starts a cluster and returns it with its own part of the configuration.
STARTS: Mapping[str, Callable[[Path], tuple[Cluster, dict[str, Any]]]] = {"slurm": _start_slurm, "ray": _start_ray}
