"""The real commands as real processes, each stack with a data folder and a database of its own."""

from __future__ import annotations

import base64
import json
import os
import pickle
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cloudtrain_site.conf.places import BASE_DIR
from cloudtrain_site.serving.inspection import DEBUGGABLE_VARIABLE
from cloudtrain_site.serving.processes import is_running
from tests.database import migrated_file, migrated_template
from tests.wait import wait_until as wait_until

MANAGE = [sys.executable, str(BASE_DIR / "manage.py")]
#: Five seconds on an idle machine; beside others many times that.
START_SECONDS = 45.0
MARK = "CLOUDTRAIN_TEST_STACK"
#: As quick as the product allows: a test that waits for ticks then waits for seconds.
QUICK_QUEUE = json.dumps({"background": {"queue_processing": {"interval_seconds": 1}}})


@dataclass
class Stack:
    """One data folder, one database, and whatever was started on them."""

    folder: Path
    database_url: str | None
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    #: What each command is run by, such as a program that changes the account.
    runner: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "SIMPLETUNER_DATA_DIR": str(self.folder / "data"),
            "TMPDIR": str(self.folder),
            "SIMPLETUNER_ENTERPRISE_CONFIG": str(self.folder / "simpletuner-enterprise.yaml"),
            MARK: self.mark,
            # On either database. What several do has tests of its own.
            "CLOUDTRAIN_WEB_PROCESSES": "1",
            # The mark is found in the processes' environments, which are root's alone without this.
            DEBUGGABLE_VARIABLE: str(os.geteuid() != 0),
        }
        unwanted = {"DATABASE_URL", "DJANGO_SETTINGS_MODULE", "SIMPLETUNER_LOG_FILE", "CLOUDTRAIN_ROLE"}
        inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
        return {**inherited, **own, **({"DATABASE_URL": self.database_url} if self.database_url else {})}

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end: a `manage.py` one, or one of Python's own when it begins with a dash."""
        return subprocess.run(
            self._line(command), env={**self.environment, **extra}, capture_output=True, text=True, timeout=110
        )

    def start(self, *command: str, **extra: str) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; its output goes to `out` and `err` in the folder."""
        environment = {**self.environment, **extra}
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            process = subprocess.Popen(
                self._line(command), env=environment, stdout=out, stderr=err, start_new_session=True
            )
        self.started.append(process)
        return process

    def _line(self, command: tuple[str, ...]) -> list[str]:
        program = [sys.executable] if command[0].startswith("-") else MANAGE
        return [*self.runner, *program, *command]

    def pids(self, **extra: str) -> set[int]:
        """Every process of this stack, or of the command with this `extra`, that runs, whoever its parent is by now."""
        marked = {f"{name}={value}".encode() for name, value in {MARK: self.mark, **extra}.items()}
        return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has(pid, marked)}

    def named(self, name: str) -> set[int]:
        """The processes with this name, such as `background`. A forked one has its parent's command line."""
        return {pid for pid in self.pids() if _name(pid) == name}

    def workers(self, state: str = "*") -> set[int]:
        """The task workers, as their signs of life say."""
        return {int(path.stem) for path in self.folder.glob(f"cloudtrain-signs-*/*.{state}") if path.stem.isdigit()}

    def lines(self) -> list[dict[str, Any]]:
        """What was logged so far, by all that were started."""
        return [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]

    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines()]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a query finds; none while there are no tables yet."""
        try:
            if self.database_url:
                with psycopg.connect(self.database_url) as connection:
                    return connection.execute(sql).fetchall()
            with sqlite3.connect(self.folder / "data" / "cloudtrain.sqlite3", timeout=10) as connection:
                return connection.execute(sql).fetchall()
        except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
            return []

    def ticks(self) -> list[datetime]:
        """The ticks of the queue that were run and saved, each by the moment that it was meant for."""
        rows = self.query("SELECT kwargs FROM django_q_task WHERE \"group\" = 'queue processing' AND success")
        return sorted(datetime.fromisoformat(_unpickled(kwargs)["intended"]) for (kwargs,) in rows)

    def wait_for_ticks(self, more: int = 1, seconds: float = START_SECONDS) -> None:
        """Return when `more` ticks than now have been run."""
        enough = len(self.ticks()) + more
        wait_until(lambda: len(self.ticks()) >= enough, seconds)

    def wait_until_gone(self, seconds: float) -> None:
        """Return when nothing of this stack runs any more."""
        wait_until(lambda: not self.pids(), seconds)

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(10)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_until_gone(10)


def _unpickled(stored: str) -> dict[str, Any]:
    """The keywords of a task as django-q2 keeps them."""
    kwargs: dict[str, Any] = pickle.loads(base64.b64decode(stored))
    return kwargs


def _has(pid: int, marked: set[bytes]) -> bool:
    try:
        return marked <= {*Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")} and is_running(pid)
    except OSError:
        return False


@contextmanager
def running_stack(folder: Path, template: Stack | None = None) -> Iterator[Stack]:
    """A stack on the kind of database that the tests run on, a copy of the template's; afterwards nothing is left."""
    server = os.environ.get("DATABASE_URL")
    stack = Stack(folder, None)
    if template is not None:
        shutil.copytree(template.folder / "data", folder / "data")
    else:
        (folder / "data").mkdir()
    (folder / "simpletuner-enterprise.yaml").write_text("background:\n")
    if server:
        copy = f" TEMPLATE {template.database_url.rpartition('/')[2]}" if template and template.database_url else ""
        _execute(server, f"CREATE DATABASE stack_{stack.mark}{copy}")
        stack.database_url = f"{server.rpartition('/')[0]}/stack_{stack.mark}"
    try:
        yield stack
    finally:
        stack.end()
        if server:
            _execute(server, f"DROP DATABASE stack_{stack.mark} WITH (FORCE)")


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Stack:
    """A stack whose database has its tables, to be copied: nothing is run on it."""
    folder = tmp_path_factory.mktemp("migrated")
    (folder / "data").mkdir()
    if server := os.environ.get("DATABASE_URL"):
        return Stack(folder, migrated_template(server))
    shutil.copy(migrated_file(request.config), folder / "data" / "cloudtrain.sqlite3")
    return Stack(folder, None)


@pytest.fixture
def stack(tmp_path: Path, migrated: Stack) -> Iterator[Stack]:
    """A stack with a fresh copy of that database, a tick of the queue each second, and nothing running on it yet."""
    with running_stack(tmp_path, migrated) as made:
        (made.folder / "simpletuner-enterprise.yaml").write_text(QUICK_QUEUE)
        yield made


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
