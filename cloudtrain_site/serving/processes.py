"""Child processes that end with us, however we end, and that are restarted when they end by themselves."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cloudtrain_site.conf.places import with_import_path

logger = logging.getLogger("simpletuner.cloud.background")

PARENT_VARIABLE = "CLOUDTRAIN_PARENT_PID"
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
#: The number of glibc's option for the largest number of heaps, from its malloc.h.
M_ARENA_MAX = -8
#: What runs a module of ours. Without the working folder on its import path: the operator's folder may have a jobs.py.
MODULE_RUNNER = (sys.executable, "-P", "-m", "cloudtrain_site.serving.inspection")


class Child(Protocol):
    """What a child process of `subprocess` and a forked one (forks.py) have in common."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` and `top` show, of at most 15 characters."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def share_one_heap() -> None:
    """Make all threads allocate from one heap. To be called before a second one exists.

    On two cores glibc allows sixteen heaps, each of which keeps the holes that a burst of requests leaves in it, for
    little gain: Python runs one thread at a time. After 1,000 opened streams that was 4 MB of 105.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def start(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start `command` in its own session, so that Ctrl-C reaches only us and its whole group can be ended.

    The child should call `follow_parent`. To be called from a thread that lives as long as the child may: Linux sends
    the death signal when the starting thread ends, not when the process does.
    """
    return subprocess.Popen(  # noqa: S603 - our own programs, named by our own code
        command,
        env={**with_import_path(os.environ), **(env or {}), PARENT_VARIABLE: str(os.getpid())},
        pass_fds=pass_fds,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )


def follow_parent(death_signal: signal.Signals = signal.SIGTERM) -> None:
    """Have Linux send us `death_signal` when the process that started us with `start` ends, by kill -9 too."""
    # Removed from the environment: a program that we start in turn has another parent.
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before prctl
        os.kill(os.getpid(), death_signal)


def stop(process: Child, grace_seconds: float) -> bool:
    """Terminate `process`, and kill its whole group when it runs on for `grace_seconds` or leaves children behind.

    Returns whether it ended by itself.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    return wait_and_kill(process, time.monotonic() + grace_seconds)


def wait_and_kill(process: Child, deadline: float) -> bool:
    """Wait for `process` until `deadline`, then kill the rest of its group. Returns whether it ended by itself."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
        ended = True
    except subprocess.TimeoutExpired:
        ended = False
    kill_group(process.pid)
    process.wait()
    return ended


def kill_group(pid: int) -> None:
    """Kill all processes in the session that `pid` leads, or led. An empty one is no error."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether process `pid` exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # The state follows the name, which is in brackets and may contain anything.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self/stat").exists()
    return state not in "ZX"


class Backoff:
    """The pauses before a process is restarted: longer each time that it ends soon."""

    FIRST_SECONDS = 1.0
    #: With the time to notice and to start, a hanging cluster must be replaced within twenty seconds.
    MAX_SECONDS = 8.0
    #: A process that lived this long can start. Not longer: a process that is killed every ten seconds would run for
    #: two of them, which is too short for any work.
    PROVEN_SECONDS = 5.0

    def __init__(self) -> None:
        self.delay = self.FIRST_SECONDS

    def after(self, lived_seconds: float) -> float:
        """Return the seconds to wait after a process that lived for `lived_seconds`."""
        delay = self.FIRST_SECONDS if lived_seconds >= self.PROVEN_SECONDS else self.delay
        self.delay = min(delay * 2, self.MAX_SECONDS)
        return delay


class Service:
    """A child process that is restarted, after a pause, whenever it ends. To be used from one thread.

    It is forked by `fork` where there is one, until `load_anew`, and otherwise runs `command`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        fork: Callable[[], Child] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.env = env
        self.pass_fds = pass_fds
        self.fork = fork
        self.process: Child | None = None
        self._backoff = Backoff()
        self._started_at = 0.0
        self._due_at = 0.0

    def load_anew(self) -> None:
        """Have all that start from now on load the code that is there by then."""
        self.fork = None

    def launch(self) -> Child:
        """Start a process of this service, and return it: `tend` cares for the one in `process` alone."""
        self._started_at = time.monotonic()
        return self.fork() if self.fork else start(self.command, env=self.env, pass_fds=self.pass_fds)

    def tend(self) -> None:
        """Start the process when that is due, or note its end."""
        if self.process is None:
            if time.monotonic() >= self._due_at:
                self.process = self.launch()
        elif (status := self.process.poll()) is not None:
            kill_group(self.process.pid)
            self.note_end(status)

    def note_end(self, status: int) -> None:
        """Have it started again, after a pause."""
        assert self.process is not None
        now = time.monotonic()
        delay = self._backoff.after(now - self._started_at)
        extra = {"service": self.name, "pid": self.process.pid, "status": status, "restart_in_seconds": delay}
        logger.error("Service ended and is started again", extra=extra)
        self.process, self._due_at = None, now + delay

    def processes(self) -> list[Child]:
        """Return what has to be ended at a stop."""
        return [] if self.process is None else [self.process]

    def restart(self, grace_seconds: float) -> None:
        """End the process; `tend` starts another at once."""
        if self.process is not None:
            stop(self.process, grace_seconds)
        self.process, self._due_at = None, 0.0


def stop_all(services: Sequence[Service], grace_seconds: float) -> None:
    """Terminate all of them at the same time, and kill those that run on for `grace_seconds`."""
    running = [process for service in services for process in service.processes()]
    deadline = time.monotonic() + grace_seconds
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in running:
        wait_and_kill(process, deadline)
