"""The one way in which the tests wait: on a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
#: Between two looks: short at first, and then longer, for a look may walk through /proc or ask a database.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1


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
