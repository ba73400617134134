"""The identifiers of jobs."""

from __future__ import annotations

import secrets
from datetime import datetime

from ulid import ULID

ID_LENGTH = 26
#: The number of characters, at the beginning of an id, that are its time in milliseconds.
TIME_LENGTH = 10


def new_job_id(at: datetime | None = None) -> str:
    """Return a job id: 26 letters and digits that sort by time (a ULID), now or `at`."""
    return str(ULID.from_datetime(at) if at else ULID()).lower()


def first_id_at(at: datetime) -> str:
    """Return the lowest id that a job made at that moment, or later, can have."""
    return str(ULID.from_datetime(at))[:TIME_LENGTH].lower().ljust(ID_LENGTH, "0")


def new_marker() -> str:
    """Return a random word that a provider echoes, to recognize a submission: `ct-` and 24 hex digits."""
    return f"ct-{secrets.token_hex(12)}"
