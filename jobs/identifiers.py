"""Names that we give to jobs."""

from __future__ import annotations

import secrets
from datetime import datetime

from ulid import ULID


def new_job_id(at: datetime | None = None) -> str:
    """A job id: 26 letters and digits that sort by time (a ULID), now or `at`."""
    return str(ULID.from_datetime(at) if at else ULID()).lower()


def new_marker() -> str:
    """A random word that a provider echoes, so that a submission can be recognised: `ct-` and 24 hex digits."""
    return f"ct-{secrets.token_hex(12)}"
