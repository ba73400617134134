"""How a bench ends that somebody stops."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM end this process by way of its `finally` blocks, which end the servers that it started.

    To be called in the main thread, before the first of them is started.
    """
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    # The servers take their time to end: whoever is impatient meanwhile would leave them behind.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)
