"""The identifiers of jobs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
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


@dataclass(frozen=True, slots=True)
class Span:
    """The ids from the first to before the end; empty: there is no such bound."""

    first: str = ""
    end: str = ""

    def of(self, column: str) -> Q:
        """Return the condition that `column` has one of these ids."""
        first, end = Q(**{f"{column}__gte": self.first}), Q(**{f"{column}__lt": self.end})
        return (first if self.first else Q()) & (end if self.end else Q())


EVER = Span()


def new_marker() -> str:
    """Return a random word that a provider echoes, to recognize a submission: `ct-` and 24 hex digits."""
    return f"ct-{secrets.token_hex(12)}"
