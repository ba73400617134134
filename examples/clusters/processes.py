"""What every real cluster here needs: a port, patience, and the end of whatever was started."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PORTS = (27_000, 32_000)

PATIENCE_SECONDS = 10.0
#: Between two looks: short at first, and then longer, for a look may walk through /proc or ask a database.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1
#: What SIGKILL has not ended by then never ends.
END_SECONDS = 60.0


class MissingProgramError(Exception):
    """A program that the cluster needs is not on this machine; the message names it, and what installs it."""


def wait_until(condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """What `condition()` says, as soon as that is true; raises TimeoutError when it isn't in time."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {seconds:.0f} s: {condition}")
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST_PAUSE)
    return result


def free_port() -> int:
    """A port on the loopback address that nobody listens on now.

    The system gives none of these to outgoing connections: who listens on one can do so again after a restart.
    """
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_all(find: Callable[[], Sequence[int]]) -> None:
    """SIGKILL what `find` finds until it finds nothing."""

    def look() -> bool:
        found = find()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    wait_until(look, END_SECONDS)
