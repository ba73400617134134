"""How the supervisor replaces its web processes, with small programs in their place."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain_site.serving import supervisor
from cloudtrain_site.serving.board import Board
from cloudtrain_site.serving.processes import Service, is_running, stop_all
from cloudtrain_site.serving.supervisor import Supervisor, WebProcess
from tests.wait import wait_until

#: Serves in its slot from its start to a hang-up; where there is a file `broken` it ends at once.
PROGRAM = """
import mmap, os, signal, sys
options = dict(zip(sys.argv[2::2], map(int, sys.argv[3::2])))
if os.path.exists("broken"):
    sys.exit(1)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
slots = memoryview(mmap.mmap(options["--board"], 0))[8:].cast("i")
slots[options["--slot"]] = 1
signal.sigwait([signal.SIGHUP])
slots[options["--slot"]] = 0
"""


class Asked(supervisor.Requests):
    """What is asked for by attributes alone."""

    def __init__(self) -> None:
        self.stop = self.restart = False


@pytest.fixture
def board() -> Board:
    return Board.create(4)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board) -> Iterator[Supervisor]:
    """Two of them, serving."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervisor, "MODULE_RUNNER", (sys.executable, "-c", PROGRAM))
    monkeypatch.setattr(supervisor, "CHECK_SECONDS", 0.01)
    with socket.socket() as listener:
        web = [WebProcess(number, 2, listener.fileno(), board) for number in (0, 1)]
        made = Supervisor(web, [], Asked())
        made.tend()
        wait_until(lambda: board.serves(0) and board.serves(2))
        yield made
        stop_all(web, 0.0)


def pids(running: Supervisor) -> list[int]:
    return [web.process.pid for web in running.web if web.process is not None]


def test_a_restart_replaces_each_by_one_that_serves(running: Supervisor, board: Board) -> None:
    former = pids(running)
    running.restart()
    assert not set(former) & set(pids(running))
    assert not any(map(is_running, former))
    assert [board.serves(slot) for slot in range(4)] == [False, True, False, True]
    running.restart()
    assert [board.serves(slot) for slot in range(4)] == [True, False, True, False]


def test_a_restart_begins_the_background_again_at_the_end(
    running: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    background = Service("background", [sys.executable, "-c", "import signal; signal.pause()"])
    running.others = [background]
    running.tend()
    former = background.process
    assert former is not None
    try:
        running.restart()
        assert former.poll() == -signal.SIGTERM
        running.tend()
        assert background.process is not None
        assert background.process.poll() is None
        assert "Service ended" not in caplog.text
    finally:
        stop_all([background], 0.0)


def test_a_restart_is_given_up_where_a_new_one_does_not_start(
    running: Supervisor, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    former = pids(running)
    Path("broken").touch()
    with caplog.at_level(logging.ERROR):
        running.restart()
    assert pids(running) == former
    assert all(map(is_running, former))
    assert "Restart given up: a new process does not start" in caplog.text
    Path("broken").unlink()
    running.restart()
    assert not set(former) & set(pids(running))


def test_one_that_died_is_said_to_serve_no_more(running: Supervisor, board: Board) -> None:
    web = running.web[0]
    assert web.process is not None
    web.process.send_signal(signal.SIGKILL)
    web.process.wait()
    running.tend()
    assert web.process is None, "it is started again after a pause"
    assert not board.serves(0)
    assert board.serves(2)
