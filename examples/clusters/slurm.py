"""A private Slurm cluster on this machine, up in less than a second and 20 MB large; any account may run it."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import jwt

from examples.clusters.processes import MissingProgramError, free_port, is_alive, wait_until

PROGRAMS = ("slurmctld", "slurmd", "slurmrestd", "munged", "scontrol")
PACKAGES = "slurmctld slurmd slurmrestd slurm-client slurm-wlm-jwt-plugin munge"
#: Where Debian keeps daemons, which is not on everybody's path.
PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
#: Pretended: no node has as many.
CPUS, MEMORY_MB, GPUS = 64, 64_000, 2
VERSION = "v0.0.38"
TOKEN_SECONDS = 300

CONF = """
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
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
ProctrackType=proctrack/{tracking}
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


def check_programs() -> None:
    """Raise MissingProgramError when a program of Slurm's is not on this machine."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        raise MissingProgramError(f"Slurm ({', '.join(absent)}; on Debian and Ubuntu: apt install {PACKAGES})")


def run_to_end(command: list[str], **options: Any) -> None:
    """Raises CalledProcessError when the program ends with an error."""
    subprocess.run(command, check=True, capture_output=True, timeout=30, **options)


class SlurmCluster:
    """A cluster of `nodes` on the loopback address, each with two pretended GPUs; its daemons run as who starts it."""

    def __init__(self, *, nodes: int = 2, min_job_age: int = 300, folder: Path | None = None) -> None:
        """`folder` is for this cluster alone; left out, it is a new one."""
        check_programs()
        self.nodes, self.min_job_age = nodes, min_job_age
        self.folder = folder or Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.user = getpass.getuser()
        self.port = free_port()
        self.rest: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=30, verify=False)

    def start(self) -> Self:
        try:
            self._configure()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _configure(self) -> None:
        for name in ("ctld", "log", "run", "shared", *(f"slurmd-n{number}" for number in self._numbers())):
            (self.folder / name).mkdir()
        for name, size in (("munge.key", 1024), ("jwt.key", 32)):
            (self.folder / name).write_bytes(secrets.token_bytes(size))
            (self.folder / name).chmod(0o400)
        devices = "".join(f"Name=gpu Type=h100 File={device}\n" for device in ("/dev/null", "/dev/zero"))
        (self.folder / "gres.conf").write_text(devices)
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
            user=self.user,
            # Of other accounts' processes only root can tell whose child they are.
            tracking="linuxproc" if self._is_root else "pgid",
            nodes=nodes,
            min_job_age=self.min_job_age,
        )
        (self.folder / "slurm.conf").write_text(conf)

    @property
    def _is_root(self) -> bool:
        return os.geteuid() == 0

    def _numbers(self) -> range:
        return range(1, self.nodes + 1)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def _start(self) -> None:
        run, log = self.folder / "run", self.folder / "log"
        munge = [f"--socket={run}/munge.sock", f"--key-file={self.folder}/munge.key", f"--pid-file={run}/munged.pid"]
        seed = [f"--log-file={log}/munged.log", f"--seed-file={run}/munge.seed"]
        run_to_end(["munged", "--force", *munge, *seed], env=self.environment)
        run_to_end(["slurmctld", "-c"], env=self.environment)
        for number in self._numbers():
            self.start_node(number)
        self.start_rest()
        wait_until(lambda: self.node_states() == ["idle"] * self.nodes, 20)

    def start_rest(self) -> None:
        # It would rather not be the cluster's own account, or root: here nobody else can reach it.
        own = {"SLURM_JWT": "daemon", "SLURMRESTD_SECURITY": "disable_user_check"}
        with (self.folder / "log" / "restd.log").open("ab") as log:
            self.rest = subprocess.Popen(
                ["slurmrestd", "-a", "rest_auth/jwt", "-s", f"openapi/{VERSION}", f"127.0.0.1:{self.port}"],
                env={**self.environment, **own},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        (self.folder / "run" / "restd.pid").write_text(str(self.rest.pid))
        wait_until(self._answers, 10)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.call("GET", "/ping").status_code == 200
        return False

    def start_controller(self) -> None:
        """Start it again with what it had stored."""
        run_to_end(["slurmctld"], env=self.environment)
        wait_until(self._answers, 20)

    def start_node(self, number: int) -> None:
        run_to_end(["slurmd", "-N", f"n{number}"], env=self.environment)

    def kill(self, daemon: str) -> None:
        """SIGKILL one of `slurmctld`, `n1`, `n2`, `restd`, and wait until it is gone."""
        pid = int((self.folder / "run" / f"{daemon}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid))

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
        wait_until(lambda: not any(map(is_alive, pids)), 20)
        if self.rest:
            self.rest.wait()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def key(self) -> Path:
        return self.folder / "jwt.key"

    def call(self, method: str, path: str, *, user: str = "", **options: Any) -> httpx.Response:
        """Send a request as `user`, by default as who runs the cluster."""
        user, now = user or self.user, int(time.time())
        token = jwt.encode({"iat": now, "exp": now + TOKEN_SECONDS, "sun": user}, self.key.read_bytes(), "HS256")
        headers = {"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": token}
        return self.client.request(method, f"{self.address}/slurm/{VERSION}{path}", headers=headers, **options)

    def node_states(self) -> list[str]:
        return [node["state"] for node in self.call("GET", "/nodes").json()["nodes"]]


def _processes_with(text: str) -> Iterator[int]:
    """Yield the processes whose environment names the cluster's folder: steps and trainers."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text in (entry / "environ").read_text(errors="replace") and int(entry.name) != os.getpid():
                yield int(entry.name)
