"""Child processes: how they end, and how soon they are started again."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from cloudtrain_site.serving.processes import Backoff, is_running, start, stop
from tests.web import wait_until

#: Starts a child that ignores SIGTERM, says its number, and waits as stubbornly.
STUBBORN = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "open(sys.argv[1], 'w').write(str(child.pid)); signal.pause()"
)


def test_one_that_does_not_end_is_killed_with_its_children(tmp_path: object) -> None:
    pid_file = f"{tmp_path}/pid"
    process = start([sys.executable, "-c", STUBBORN, pid_file])
    wait_until(lambda: number_in(pid_file))
    child = number_in(pid_file)
    assert not stop(process, grace_seconds=0.2)
    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: not is_running(child))


def number_in(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def test_one_that_ends_when_asked_is_not_killed() -> None:
    process = start([sys.executable, "-c", "import signal; signal.pause()"])
    assert stop(process, grace_seconds=10)
    assert process.returncode == -signal.SIGTERM


def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: not is_running(process.pid))
    process.wait()


@pytest.mark.parametrize(
    ("lives", "delays"),
    [([0, 0, 0, 0, 0, 0], [1, 2, 4, 8, 8, 8]), ([0, 0, 100, 0, 0], [1, 2, 1, 2, 4]), ([8, 8, 8, 8], [1, 1, 1, 1])],
)
def test_one_that_ends_soon_waits_longer_each_time(lives: list[float], delays: list[float]) -> None:
    backoff = Backoff()
    assert [backoff.after(seconds) for seconds in lives] == delays
