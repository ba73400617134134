"""Real Slurm clusters for the tests, gone when these end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.providers import HardwareProfile, Secret, SlurmInstance
from examples.clusters import slurm as private_slurm
from examples.clusters.processes import MissingProgramError
from examples.clusters.slurm import run_to_end
from jobs.providers.slurm.provider import SlurmProvider
from tests.servers import missing
from tests.wait import wait_until

#: An account that is not who runs the cluster.
NOBODY = 65534


class SlurmCluster(private_slurm.SlurmCluster):
    """A cluster with what the tests ask of it."""

    def jobs(self, name: str = "") -> list[dict[str, Any]]:
        jobs = self.call("GET", "/jobs").json()["jobs"]
        return [job for job in jobs if not name or job["name"] == name]

    def run(self, script: str, *, user: str = "", **fields: Any) -> int:
        """Submit a job as somebody at the cluster does. Returns its number."""
        job = {"name": "theirs", "environment": {"PATH": "/usr/bin:/bin"}, "current_working_directory": "/", **fields}
        body = {"script": f"#!/bin/bash\n{script}\n", "job": job}
        return int(self.call("POST", "/job/submit", user=user, json=body).json()["job_id"])

    def run_kept(self, job: Path) -> int:
        """Submit once more what the site submitted, as a request that a proxy kept for a while."""
        body = json.loads((job / "submission.json").read_text())["body"]
        return int(self.call("POST", "/job/submit", json=body).json()["job_id"])

    def requeue(self, number: int) -> None:
        run_to_end(["scontrol", "requeue", str(number)], env=self.environment)

    def fail_node(self, node: str) -> None:
        run_to_end(["scontrol", "update", f"nodename={node}", "state=down", "reason=for a test"], env=self.environment)

    def set_comment(self, number: int, comment: str) -> None:
        run_to_end(["scontrol", "update", f"jobid={number}", f"comment={comment}"], env=self.environment)

    def drain(self, node: str) -> None:
        run_to_end(["scontrol", "update", f"nodename={node}", "state=drain", "reason=for a test"], env=self.environment)

    def resume(self, node: str) -> None:
        run_to_end(["scontrol", "update", f"nodename={node}", "state=resume"], env=self.environment)

    def let_go(self) -> None:
        """Do what an administrator does about nodes and jobs that Slurm holds back after a crash of its daemons."""
        for node in self.call("GET", "/nodes").json()["nodes"]:
            if "DRAIN" in node["state_flags"]:
                self.resume(node["name"])
        for job in self.jobs():
            if job["job_state"] == "PENDING" and job["state_reason"] == "JobHeldUser":
                run_to_end(["scontrol", "release", str(job["job_id"])], env=self.environment)

    def end_jobs(self) -> None:
        for job in self.jobs():
            if job["job_state"] in ("PENDING", "RUNNING", "SUSPENDED"):
                self.call("DELETE", f"/job/{job['job_id']}")
        wait_until(lambda: all(job["job_state"] not in ("PENDING", "RUNNING", "COMPLETING") for job in self.jobs()), 20)

    def instance(self, *command: str, **fields: Any) -> SlurmInstance:
        """What the configuration file would declare of it; the command is the trainer's."""
        profile = HardwareProfile("cpu")
        defaults: dict[str, Any] = {
            "name": "slurm-lab",
            "label": "Slurm lab",
            "address": self.address,
            "token": Secret(),
            "key": Secret(file=self.key),
            "command": command or ("true",),
            "hardware": {profile.name: profile},
            "shared_folder": self.shared,
            "grace_seconds": 2,
            "user": self.user,
        }
        return SlurmInstance(**{**defaults, **fields})

    def provider(self, *command: str, profile: HardwareProfile | None = None, **fields: Any) -> SlurmProvider:
        hardware = {"hardware": {"cpu": replace(profile, name="cpu")}} if profile else {}
        return SlurmProvider(self.instance(*command, **hardware, **fields))


def need_slurm() -> None:
    """Skip without Slurm, or fail in CI."""
    try:
        private_slurm.check_programs()
    except MissingProgramError as error:
        missing(str(error))
    if os.geteuid() != 0:
        missing("the right to start Slurm for several accounts, which root has,")


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """One cluster for all tests of a process; take `slurm`, which is left without jobs."""
    need_slurm()
    cluster = SlurmCluster().start()
    yield cluster
    cluster.stop()


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    yield slurm_cluster
    slurm_cluster.end_jobs()
