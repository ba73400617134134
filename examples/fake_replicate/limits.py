"""The limits on requests, as far as answers tell of them: so many a minute, refilled all the time."""

from __future__ import annotations

import math
import time

MINUTE = 60.0


class Bucket:
    """Counts the requests of one kind."""

    def __init__(self) -> None:
        self.used = 0.0
        self.at = time.monotonic()

    def take(self, a_minute: int) -> tuple[int, int]:
        """Use one up. Returns what remains (below 0: one too many), and the seconds until all is there again."""
        now = time.monotonic()
        refilled = (now - self.at) * a_minute / MINUTE
        self.used = max(0.0, self.used - refilled) + 1
        self.at = now
        return math.floor(a_minute - self.used), math.ceil(self.used * MINUTE / a_minute)

    def refund(self) -> None:
        """A request that was refused uses nothing up."""
        self.used -= 1
