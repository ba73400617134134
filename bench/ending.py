"""How a bench ends that somebody stops, and what it started."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import FrameType
from typing import Any

#: A bench may have to end several sites, each of which has its own time.
END_SECONDS = 60.0


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM end this process by way of its `finally` blocks, which end the servers that it started.

    To be called in the main thread, before the first of them is started.
    """
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    # The servers take their time to end: whoever is impatient meanwhile would leave them behind.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process by SIGTERM, so that it ends what it started; after its time by SIGKILL."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
