"""Private servers for the tests, from the binaries on this machine, gone when the tests end."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg
import pytest

from examples.clusters.processes import free_port as free_port
from tests.wait import wait_until

START_SECONDS = 30.0


def missing(program: str) -> None:
    """Skip with the reason, or fail in CI, where nothing may be missing."""
    reason = f"{program} is not on this machine"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def find_binary(name: str) -> str | None:
    """Where `name` is: on the path, or where Debian keeps PostgreSQL's own programs."""
    found = shutil.which(name)
    if found:
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(versions[-1]) if versions else None


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = START_SECONDS) -> None:
    """Return when something listens on `port`; raise when `process` ends first or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise TimeoutError(f"nothing listens on port {port} after {seconds:.0f} s")


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root: become the account that its package made."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if getpass.getuser() == "root" else []


@dataclass
class PostgresServer:
    """A throw-away PostgreSQL server on a port of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"postgres://tester:unused@127.0.0.1:{self.port}/postgres"

    @classmethod
    def start(cls) -> Self:
        initdb = find_binary("initdb")
        if not initdb:
            missing("PostgreSQL")
        folder = Path(tempfile.mkdtemp(prefix="cloudtrain-postgres-"))
        if getpass.getuser() == "root":
            shutil.chown(folder, "postgres", "postgres")
        become, data = _as_postgres(), folder / "data"
        subprocess.run(
            [*become, str(initdb), "-D", str(data), "-U", "tester", "--auth=trust", "--encoding=UTF8", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        server = cls(folder, free_port())
        server.resume()
        return server

    def resume(self) -> None:
        """Start the server, again after `halt`."""
        options = {"fsync": "off", "full_page_writes": "off", "max_connections": "100", "unix_socket_directories": ""}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        address = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_as_postgres(), str(find_binary("postgres")), *address, *flags],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
            )
        wait_for_port(self.port, self.process)
        wait_until(self._takes_connections)

    def _takes_connections(self) -> bool:
        """It listens a little before it does."""
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def halt(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server; its data stay for `resume`. SIGINT cuts its clients, SIGQUIT is a crash."""
        self.process.send_signal(how)
        self.process.wait(20)

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class RedisServer:
    """A throw-away Redis server on a port of its own."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @classmethod
    def start(cls, port: int = 0) -> Self:
        binary = find_binary("redis-server")
        if not binary:
            missing("Redis")
        port = port or free_port()
        command = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_port(port, process)
        return cls(process, port)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
