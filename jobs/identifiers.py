"""The identifiers of jobs."""

from __future__ import annotations

import secrets
from datetime import datetime

from ulid import ULID


def new_job_id(at: datetime | None = None) -> str:
    """Return a job id: 26 letters and digits that sort by time (a ULID), now or `at`."""
    return str(ULID.from_datetime(at) if at else ULID()).lower()


def new_marker() -> str:
    """Return a random word that a provider echoes, to recognize a submission: `ct-` and 24 hex digits."""
    return f"ct-{secrets.token_hex(12)}"
