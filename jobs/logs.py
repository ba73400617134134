"""A job's log, from wherever it is kept."""

from __future__ import annotations

import asyncio

from jobs.models import Job
from jobs.providers import get_provider
from jobs.providers.base import Handle, LogSlice, ProviderError

#: One answer holds at most this much; the reader goes on at `end`.
READ_LIMIT_BYTES = 2_000_000
NOTHING = LogSlice(text="", start=0, end=0, complete=False)


def read_log(job: Job, *, start: int = 0, limit: int = READ_LIMIT_BYTES) -> LogSlice:
    """The log from byte `start`. Empty while there is none; a log that can't be read says so in its text."""
    if not job.external_id:
        return LogSlice(text="", start=0, end=0, complete=job.is_terminal)
    try:
        return asyncio.run(
            get_provider(job.provider).read_log(Handle(job.pk, job.external_id), start=start, limit=limit)
        )
    except (ProviderError, KeyError) as error:
        text = f"[the log can't be read now: {error}]\n"
        return LogSlice(text=text, start=start, end=start, complete=job.is_terminal)


def last_lines(text: str, count: int) -> str:
    """The last `count` lines of `text`."""
    return "".join(text.splitlines(keepends=True)[-count:])
