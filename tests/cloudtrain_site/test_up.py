"""`manage.py up` as an operator meets it: a terminal, a port that is taken, Ctrl-C, kill -9."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.cloudtrain_site.stacks import MANAGE, START_SECONDS, Stack, migrated, running_stack, stack, wait_until
from tests.servers import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def empty_stack(tmp_path: Path) -> Iterator[Stack]:
    """An empty data folder and an empty database."""
    with running_stack(tmp_path) as made:
        yield made


@pytest.fixture
def port() -> int:
    return free_port()


def is_ready(port: int) -> bool:
    with suppress(httpx.TransportError), httpx.Client(verify=False, timeout=5) as client:
        return client.get(f"http://127.0.0.1:{port}/api/cloud/health/ready").status_code == 200
    return False


def start_up(stack: Stack, port: int) -> subprocess.Popen[bytes]:
    """Start `up`, and return when web and workers are ready."""
    process = stack.start("up", "--port", str(port))
    wait_until(lambda: is_ready(port) and len(stack.workers("idle")) == 2, START_SECONDS)
    return process


class TestWhatCannotBeStarted:
    def test_a_port_that_is_taken(self, empty_stack: Stack) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            done = empty_stack.run("up", "--port", str(taken))
        assert done.returncode == 1
        assert done.stderr.strip().endswith(
            f"Can't listen on 127.0.0.1 port {taken}: Address already in use. Choose another with --port."
        )
        assert "Traceback" not in done.stderr + done.stdout
        assert not (empty_stack.folder / "data" / "cloudtrain.sqlite3").exists()

    @pytest.mark.parametrize("port", ["99999", "-1"])
    def test_a_port_that_is_none(self, empty_stack: Stack, port: str) -> None:
        done = empty_stack.run("up", "--port", port)
        assert done.returncode == 1
        assert "Can't listen on 127.0.0.1 port" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout

    def test_a_data_folder_that_is_a_file(self, empty_stack: Stack) -> None:
        (empty_stack.folder / "file").touch()
        done = empty_stack.run("up", "--port", str(free_port()), SIMPLETUNER_DATA_DIR=str(empty_stack.folder / "file"))
        assert done.returncode == 1
        assert str(empty_stack.folder / "file") in done.stderr
        assert "Traceback" not in done.stderr + done.stdout

    def test_a_database_that_cannot_be_opened(self, empty_stack: Stack) -> None:
        url = f"sqlite:///{empty_stack.folder}/no/such/folder/db.sqlite3"
        done = empty_stack.run("up", "--port", str(free_port()), DATABASE_URL=url)
        assert done.returncode == 1
        assert "The database can't be prepared: unable to open database file" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout


class TestRunning:
    def test_ctrl_c_leaves_nothing(self, stack: Stack, port: int) -> None:
        up = start_up(stack, port)
        up.send_signal(signal.SIGINT)
        stack.wait_until_gone(10)
        assert up.wait() == 0
        assert {"Queue scheduler started", "Shutting down"} <= set(stack.messages())  # every line is JSON
        assert (stack.folder / "err").read_text() == ""

    def test_kill_9_leaves_nothing(self, stack: Stack, port: int) -> None:
        up = start_up(stack, port)
        up.kill()
        stack.wait_until_gone(15)

    def test_a_web_process_that_dies_is_started_again(self, stack: Stack, port: int) -> None:
        up = start_up(stack, port)
        [web] = [pid for pid in stack.pids() if b"cloudtrain_site.web" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(web, signal.SIGKILL)
        # Nobody is refused meanwhile: the socket stays open, and the request waits for the new process.
        answer = httpx.get(f"http://127.0.0.1:{port}/api/cloud/health/live", timeout=START_SECONDS)
        assert answer.status_code == 200
        assert "Service ended and is started again" in stack.messages()
        assert up.poll() is None

    def test_a_terminal_is_told_where_to_look(self, empty_stack: Stack, port: int) -> None:
        ours, theirs = pty.openpty()
        up = subprocess.Popen(
            [*MANAGE, "up", "--port", str(port)],
            env=empty_stack.environment,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        empty_stack.started.append(up)
        said = read_until(ours, "Ctrl-C stops everything")
        os.close(ours)
        for part in (f"http://127.0.0.1:{port}/", "/admin/", "/api/docs", "createsuperuser"):
            assert part in said


def read_until(terminal: int, text: str) -> str:
    """What appeared on the terminal, up to `text`; pytest's own time limit ends a wait in vain."""
    said = ""
    while text not in said:
        said += os.read(terminal, 1024).decode()
    return said
