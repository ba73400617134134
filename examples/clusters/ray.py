"""A private Ray cluster on this machine: a head, further nodes that claim what isn't there, and their deaths.

Ray's own way to stop ends every Ray process of a machine; here only processes of the cluster's own folder are ended.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from examples.clusters.processes import MissingProgramError, free_port, kill_all, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS, TRIES = 180.0, 5
#: Workers of each node listen on ports of their own, where no other port may lie.
FIRST_WORKER_PORT, PORTS_OF_A_NODE, NODES = 20_002, 60, 100


def find_ray() -> Path | None:
    """Return Ray's program: of the environment that the variable names, of `make long`, or on the path."""
    named = os.environ.get("CLOUDTRAIN_TEST_RAY")
    places = [Path(named, "bin", "ray")] if named else []
    places.append(ROOT / ".ray" / "bin" / "ray")
    on_path = shutil.which("ray")
    return next((path for path in [*places, *([Path(on_path)] if on_path else [])] if path.is_file()), None)


class RayCluster:
    """`store`: the address of a Redis, with which a head survives its restart.

    Raises MissingProgramError without Ray.
    """

    def __init__(
        self, *, store: str = "", with_token: bool = True, folder: Path | None = None, start_timeout: int | None = None
    ) -> None:
        self.program = find_ray()
        if self.program is None:
            raise MissingProgramError("Ray (`make install-ray` installs it into .ray)")
        # Ray's sockets lie in it, whose paths may have some 100 characters.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="ray-"))
        self.token = secrets.token_hex(32) if with_token else ""
        (self.folder / "token").write_text(self.token)
        self.store = store
        self.start_timeout = start_timeout
        self.port, self.dashboard = free_port(), free_port()
        self.ports = [free_port() for _ in range(3)]
        self.nodes = 0
        self.ids: dict[Path, str] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    @property
    def python(self) -> str:
        """A Python that every node has."""
        assert self.program is not None
        return str(self.program.with_name("python"))

    def start_head(self, *, cpus: int = 2, gpus: int = 2) -> None:
        client, agent, agent_grpc = self.ports
        self._start(
            *("--head", "--port", self.port, "--dashboard-host", "127.0.0.1", "--dashboard-port", self.dashboard),
            *("--ray-client-server-port", client, "--dashboard-agent-listen-port", agent),
            *("--dashboard-agent-grpc-port", agent_grpc, "--num-cpus", cpus, "--num-gpus", gpus),
        )
        wait_until(self.is_up, START_SECONDS)

    def start_node(self, *, cpus: int = 1, gpus: int = 0, **resources: float) -> Path:
        """Start a further node. Returns its folder, by which it is killed."""
        folder = self.folder / f"node{self.nodes}"
        known = set(self.living())
        self._start(
            *("--address", f"127.0.0.1:{self.port}", "--num-cpus", cpus, "--num-gpus", gpus),
            *("--resources", json.dumps(resources), "--dashboard-agent-listen-port", free_port()),
            *("--dashboard-agent-grpc-port", free_port()),
            folder=folder,
        )
        # Nodes that a head had before its restart may still count as living; so may one whose start was given up.
        wait_until(lambda: len(set(self.living()) - known) == 1, START_SECONDS)
        (self.ids[folder],) = set(self.living()) - known
        return folder

    def _start(self, *options: object, folder: Path | None = None) -> None:
        first = FIRST_WORKER_PORT + PORTS_OF_A_NODE * ((os.getpid() + self.nodes) % NODES)
        self.nodes += 1
        ports = ("--min-worker-port", first, "--max-worker-port", first + PORTS_OF_A_NODE - 1)
        common = ("--object-store-memory", 100_000_000, "--disable-usage-stats", "--node-ip-address", "127.0.0.1")
        place = ("--temp-dir", folder or self.folder / "head")
        command = ["start", *map(str, (*options, *ports, *common, *place))]
        for _ in range(TRIES):
            if (done := self._run(command)).returncode == 0:
                return
            # On a busy machine a node may give up before its own agent is up; what it began is left behind.
            kill_all(lambda: processes_of(folder or self.folder / "head"))
        raise AssertionError(done.stdout + done.stderr)

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program), *command],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        if self.token:
            ours |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}
        if self.store:
            ours["RAY_REDIS_ADDRESS"] = self.store
        if self.start_timeout:
            ours["RAY_JOB_START_TIMEOUT_SECONDS"] = str(self.start_timeout)
        return {**ours, "RAY_USAGE_STATS_ENABLED": "0"}

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.get(f"{self.address}{path}", headers=headers, timeout=15)

    def is_up(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.get("/api/version").is_success and bool(self.living())
        return False

    def living(self) -> list[str]:
        listed = self.get("/api/v0/nodes").json()["data"]["result"]["result"]
        return [node["node_id"] for node in listed if node["state"] == "ALIVE"]

    def kill(self, folder: Path | None = None) -> None:
        """Kill Ray on a node, on the head, or in the whole folder.

        Returns once the trainings there have ended by themselves.
        """
        place = folder or self.folder / "head"
        kill_all(lambda: [pid for pid in processes_of(place) if not _is_training(pid)])
        wait_until(lambda: not processes_of(place), START_SECONDS)
        if node := self.ids.pop(place, None):
            # Ray takes some 20 s to notice, and sends jobs to it until then.
            wait_until(lambda: node not in self.living(), START_SECONDS)

    def stop(self) -> None:
        kill_all(lambda: processes_of(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)


def processes_of(folder: Path) -> Sequence[int]:
    """Return the processes that name the folder, work in it, or hold a file of it open: agents have other names."""
    entries = [entry for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != os.getpid()]
    return [int(entry.name) for entry in entries if _belongs(entry, f"{folder}/")]


def _belongs(entry: Path, folder: str) -> bool:
    with suppress(OSError):
        links = [entry / "cwd", *(entry / "fd").iterdir()]
        return folder in _command(entry) or any(f"{_target(link)}/".startswith(folder) for link in links)
    return False


def _is_training(pid: int) -> bool:
    """Whether it is our runner, a trainer, or what Ray lets watch over them: these work in the job's files."""
    entry = Path("/proc", str(pid))
    return "/working_dir_files/" in _target(entry / "cwd") and not _command(entry).startswith("ray::")


def _command(entry: Path) -> str:
    with suppress(OSError):
        return (entry / "cmdline").read_bytes().replace(b"\0", b"/").decode(errors="replace")
    return ""


def _target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return ""
