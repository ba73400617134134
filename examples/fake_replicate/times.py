"""Moments as nanoseconds since 1970, and the several ways in which Replicate writes them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

SECOND = 1_000_000_000
MICROSECOND = 1_000


def now_ns() -> int:
    return time.time_ns()


def stamp(moment: int | None, digits: int = 9) -> str | None:
    """RFC 3339 with up to `digits` of the fraction, at least two: trailing zeros are cut, as there."""
    if moment is None:
        return None
    seconds, rest = divmod(moment, SECOND)
    fraction = f"{rest:09d}"[:digits]
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction.rstrip('0'):0<2}Z"


def parse(text: str) -> int:
    """The moment that an ISO text names, to the microsecond; UTC when it names no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * SECOND + moment.microsecond * MICROSECOND
