"""Child processes that end with us, whatever ends us, and are started again when they end by themselves."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cloudtrain_site.conf.places import with_import_path

logger = logging.getLogger("simpletuner.cloud.background")

PARENT_VARIABLE = "CLOUDTRAIN_PARENT_PID"
PR_SET_PDEATHSIG = 1
#: Without the working folder on its import path: it is the operator's, and may have a jobs.py.
PYTHON = (sys.executable, "-P")


def start(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C reaches us alone and its whole group can be ended.

    The child should call `follow_parent`. To be called from a thread that lives as long as the child may:
    Linux sends the death signal when the starting thread ends, not when the process does.
    """
    return subprocess.Popen(  # noqa: S603 - our own programs, named by our own code
        command,
        env={**with_import_path(os.environ), **(env or {}), PARENT_VARIABLE: str(os.getpid())},
        pass_fds=pass_fds,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )


def follow_parent(death_signal: signal.Signals = signal.SIGTERM) -> None:
    """Have Linux send us `death_signal` when whoever started us with `start` is gone, by kill -9 too."""
    # Taken out of the environment: a program that we start in turn has another parent.
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we could ask
        os.kill(os.getpid(), death_signal)


def stop(process: subprocess.Popen[bytes], grace_seconds: float) -> bool:
    """Ask `process` to end, and kill its whole group when it has not after `grace_seconds`, or left children behind.

    Returns whether it ended by itself.
    """
    if process.poll() is None:
        process.terminate()
    return wait_and_kill(process, time.monotonic() + grace_seconds)


def wait_and_kill(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for `process` until `deadline`, then kill what is left of its group. Returns whether it ended by itself."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
        in_time = True
    except subprocess.TimeoutExpired:
        in_time = False
    kill_group(process.pid)
    process.wait()
    return in_time


def kill_group(pid: int) -> None:
    """Kill everything in the session that `pid` leads, or led; nothing there is no error."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether there is a process `pid` that can still do something: a zombie can't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # The state follows the name, which stands in brackets and may hold anything.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self/stat").exists()
    return state not in "ZX"


class Backoff:
    """How long to wait before a process is started again: longer each time that it ends soon."""

    FIRST_SECONDS = 1.0
    #: With the time to notice and to start, a hanging cluster must be replaced within twenty seconds.
    LONGEST_SECONDS = 8.0
    #: A process that lived for so long has proved that it can start. Not longer: one that something kills every ten
    #: seconds would live for two of them, which is less than it needs to do anything.
    PROVEN_SECONDS = 5.0

    def __init__(self) -> None:
        self.delay = self.FIRST_SECONDS

    def after(self, lived_seconds: float) -> float:
        """The seconds to wait after a process that lived for `lived_seconds`."""
        delay = self.FIRST_SECONDS if lived_seconds >= self.PROVEN_SECONDS else self.delay
        self.delay = min(delay * 2, self.LONGEST_SECONDS)
        return delay


class Service:
    """A child that is started again, after a while, whenever it ends. To be tended from one thread."""

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> None:
        self.name = name
        self.command = command
        self.env = env
        self.pass_fds = pass_fds
        self.process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()
        self._started_at = 0.0
        self._due_at = 0.0

    def tend(self) -> None:
        """Start it when that is due, and notice when it has ended."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._due_at:
                self.process = start(self.command, env=self.env, pass_fds=self.pass_fds)
                self._started_at = now
        elif (status := self.process.poll()) is not None:
            kill_group(self.process.pid)
            delay = self._backoff.after(now - self._started_at)
            extra = {"service": self.name, "status": status, "restart_in_seconds": delay}
            logger.error("Service ended and is started again", extra=extra)
            self.process, self._due_at = None, now + delay


def stop_all(services: Sequence[Service], grace_seconds: float) -> None:
    """Ask all of them to end at the same time, and kill those that have not after `grace_seconds`."""
    running = [service.process for service in services if service.process is not None]
    deadline = time.monotonic() + grace_seconds
    for process in running:
        if process.poll() is None:
            process.terminate()
    for process in running:
        wait_and_kill(process, deadline)
