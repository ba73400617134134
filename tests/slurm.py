"""Real Slurm clusters on this machine, gone when the tests end. Each is up in less than a second and takes 20 MB."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from cloudtrain_site.conf.providers import HardwareProfile, Secret, SlurmInstance
from jobs.providers.slurm.access import headers
from jobs.providers.slurm.provider import SlurmProvider
from tests.servers import free_port, missing
from tests.wait import wait_until

PROGRAMS = ("slurmctld", "slurmd", "slurmrestd", "munged", "scontrol")
#: The accounts that slurmrestd and one of the tests' clusters run as.
NOBODY = 65534
#: Pretended: no node has as many.
CPUS, MEMORY_MB, GPUS = 64, 64_000, 2
VERSION = "v0.0.38"

CONF = """
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/slurmd-%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
ReturnToService=2
MinJobAge={min_job_age}
KillWait=3
SlurmdTimeout=10
SchedulerParameters=batch_sched_delay=0,sched_interval=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=5 State=UP
PartitionName=theirs Nodes=ALL AllowGroups=games State=UP
"""


def _started(command: list[str], **options: Any) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30, **options)


@dataclass
class SlurmCluster:
    """A cluster of `nodes` on the loopback address, each with two pretended GPUs; its daemons run as root."""

    nodes: int = 2
    min_job_age: int = 300
    folder: Path = field(init=False)
    port: int = field(init=False)
    rest: subprocess.Popen[bytes] | None = None
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, verify=False))

    @classmethod
    def start(cls, **options: Any) -> Self:
        cluster = cls(**options)
        # Not below pytest's folder: that is root's alone, and slurmrestd is nobody.
        cluster.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        cluster.folder.chmod(0o755)
        try:
            cluster._configure()
            cluster._start()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def _configure(self) -> None:
        for name in ("ctld", "log", "run", "shared", *(f"slurmd-n{number}" for number in self._numbers())):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "jwt.key").write_bytes(secrets.token_bytes(32))
        for name in ("munge.key", "jwt.key"):
            (self.folder / name).chmod(0o400)
        devices = "".join(f"Name=gpu Type=h100 File={device}\n" for device in ("/dev/null", "/dev/zero"))
        (self.folder / "gres.conf").write_text(devices)
        self.port = free_port()
        host = os.uname().nodename.partition(".")[0]
        nodes = "\n".join(
            f"NodeName=n{number} NodeAddr=127.0.0.1 NodeHostname={host} Port={free_port()} CPUs={CPUS} "
            f"RealMemory={MEMORY_MB} Gres=gpu:h100:{GPUS} State=UNKNOWN"
            for number in self._numbers()
        )
        conf = CONF.format(
            name=f"test{self.port}",
            host=host,
            port=free_port(),
            folder=self.folder,
            nodes=nodes,
            min_job_age=self.min_job_age,
        )
        (self.folder / "slurm.conf").write_text(conf)

    def _numbers(self) -> range:
        return range(1, self.nodes + 1)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def _start(self) -> None:
        run, log = self.folder / "run", self.folder / "log"
        munge = [f"--socket={run}/munge.sock", f"--key-file={self.folder}/munge.key", f"--pid-file={run}/munged.pid"]
        _started(["munged", "--force", *munge, f"--log-file={log}/munged.log", f"--seed-file={run}/munge.seed"])
        _started(["slurmctld", "-c"], env=self.environment)
        for number in self._numbers():
            self.start_node(number)
        self._start_rest()
        wait_until(lambda: self.node_states() == ["idle"] * self.nodes, 20)

    def _start_rest(self) -> None:
        with (self.folder / "log" / "restd.log").open("ab") as log:
            self.rest = subprocess.Popen(
                ["slurmrestd", "-a", "rest_auth/jwt", "-s", f"openapi/{VERSION}", f"127.0.0.1:{self.port}"],
                env={**self.environment, "SLURM_JWT": "daemon"},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
            )
        (self.folder / "run" / "restd.pid").write_text(str(self.rest.pid))
        wait_until(self._answers, 10)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.call("GET", "/ping").status_code == 200
        return False

    def start_controller(self) -> None:
        """Start it again with what it had stored."""
        _started(["slurmctld"], env=self.environment)
        wait_until(self._answers, 20)

    def start_node(self, number: int) -> None:
        _started(["slurmd", "-N", f"n{number}"], env=self.environment)

    def kill(self, daemon: str) -> None:
        """SIGKILL one of `slurmctld`, `n1`, `n2`, `restd`, and wait until it is gone."""
        pid = int((self.folder / "run" / f"{daemon}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _is_alive(pid))

    def wait_until_stored(self) -> None:
        """Return when the controller has stored what it knows now, which it does within five seconds."""
        since = (self.folder / "ctld" / "job_state").stat().st_mtime_ns if self._has_state() else 0
        wait_until(lambda: self._has_state() and self._stored_at() > since, 10)

    def _has_state(self) -> bool:
        return (self.folder / "ctld" / "job_state").exists()

    def _stored_at(self) -> int:
        return (self.folder / "ctld" / "job_state").stat().st_mtime_ns

    def stop(self) -> None:
        pids = [int(path.read_text()) for path in (self.folder / "run").glob("*.pid")]
        steps = [pid for pid in _processes_with(str(self.folder)) if pid not in pids]
        for pid in (*pids, *steps):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(_is_alive, pids)), 20)
        if self.rest:
            self.rest.wait()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What the tests ask it.

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    def call(self, method: str, path: str, *, user: str = "root", **options: Any) -> httpx.Response:
        url = f"{self.address}/slurm/{VERSION}{path}"
        return self.client.request(method, url, headers=dict(headers(self.instance(user=user))), **options)

    def jobs(self, name: str = "") -> list[dict[str, Any]]:
        jobs = self.call("GET", "/jobs").json()["jobs"]
        return [job for job in jobs if not name or job["name"] == name]

    def node_states(self) -> list[str]:
        return [node["state"] for node in self.call("GET", "/nodes").json()["nodes"]]

    def run(self, script: str, *, user: str = "root", **fields: Any) -> int:
        """Submit a job as somebody at the cluster does. Returns its number."""
        job = {"name": "theirs", "environment": {"PATH": "/usr/bin:/bin"}, "current_working_directory": "/", **fields}
        body = {"script": f"#!/bin/bash\n{script}\n", "job": job}
        return int(self.call("POST", "/job/submit", user=user, json=body).json()["job_id"])

    def run_kept(self, job: Path) -> int:
        """Submit once more what the site submitted, as a request that a proxy kept for a while."""
        body = json.loads((job / "submission.json").read_text())["body"]
        return int(self.call("POST", "/job/submit", json=body).json()["job_id"])

    def requeue(self, number: int) -> None:
        _started(["scontrol", "requeue", str(number)], env=self.environment)

    def fail_node(self, node: str) -> None:
        _started(["scontrol", "update", f"nodename={node}", "state=down", "reason=for a test"], env=self.environment)

    def set_comment(self, number: int, comment: str) -> None:
        _started(["scontrol", "update", f"jobid={number}", f"comment={comment}"], env=self.environment)

    def drain(self, node: str) -> None:
        _started(["scontrol", "update", f"nodename={node}", "state=drain", "reason=for a test"], env=self.environment)

    def resume(self, node: str) -> None:
        _started(["scontrol", "update", f"nodename={node}", "state=resume"], env=self.environment)

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
            "key": Secret(file=self.folder / "jwt.key"),
            "command": command or ("true",),
            "hardware": {profile.name: profile},
            "shared_folder": self.shared,
            "grace_seconds": 2,
            "user": "root",
        }
        return SlurmInstance(**{**defaults, **fields})

    def provider(self, *command: str, profile: HardwareProfile | None = None, **fields: Any) -> SlurmProvider:
        hardware = {"hardware": {"cpu": replace(profile, name="cpu")}} if profile else {}
        return SlurmProvider(self.instance(*command, **hardware, **fields))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _processes_with(text: str) -> Iterator[int]:
    """Yield the processes whose environment or command line names the cluster's folder: steps and trainers."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text in (entry / "environ").read_text(errors="replace") and int(entry.name) != os.getpid():
                yield int(entry.name)


def need_slurm() -> None:
    """Skip without Slurm, or fail in CI."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if absent:
        missing(f"Slurm ({', '.join(absent)})")
    if os.geteuid() != 0:
        missing("the right to start Slurm, which root has,")


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """One cluster for all tests of a process; take `slurm`, which is left without jobs."""
    need_slurm()
    cluster = SlurmCluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    yield slurm_cluster
    slurm_cluster.end_jobs()
