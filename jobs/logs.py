"""A job's log, from where it is kept: at its provider, or here where the provider deletes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.database.fast_sql import insert, update_if
from cloudtrain_site.database.unit_of_work import joined_unit
from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.redaction import mask_text
from jobs.configs.secrets import scrubber_of, without_secrets
from jobs.models import Job, LogPiece
from jobs.providers import deletes_logs, get_provider
from jobs.providers.base import Handle, LogSlice, ProviderError, Snapshot
from jobs.statuses import TERMINAL

#: For one call; the reader continues at `end`.
READ_LIMIT_BYTES = 2_000_000
EMPTY = LogSlice(text="", start=0, end=0, complete=False)
#: No log is as long. A provider that has its log as a file answers with the end of that.
BEYOND_END = 2**62
#: For a running job that is viewed, by however many.
VIEW_INTERVAL = timedelta(seconds=5)
#: For a running job that nobody views: often enough that little is lost when a provider deletes the log.
QUIET_INTERVAL = timedelta(minutes=5)
#: Bytes with which no character of UTF-8 begins.
CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
LOST_TEXT = "[the rest of the log was removed by the provider before it could be read]\n"


def pieces_of(job: Job, *, start: int = 0) -> Iterator[LogSlice]:
    """Yield the log from byte `start` to its present end, piece by piece; at least one."""
    piece = read_log(job, start=start)
    yield piece
    while piece.end > start:
        start = piece.end
        piece = read_log(job, start=start)
        if piece.end > start:
            yield piece


def read_end(job: Job, *, start: int, lines: int) -> LogSlice:
    """Return the last `lines` lines of the log from byte `start` on. What is long before them is not read."""
    size, reach = size_of(job), READ_LIMIT_BYTES
    while True:
        first = max(start, size - reach)
        # The line at which this begins may be cut.
        needed = lines if first == start else lines + 1
        text, piece = "", EMPTY
        for piece in pieces_of(job, start=first):
            text = last_lines(text + piece.text, needed)
        if first == start or len(text.splitlines()) == needed:
            return LogSlice(last_lines(text, lines), start, piece.end, piece.complete)
        reach *= 4


def size_of(job: Job) -> int:
    """Return the present size of the log in bytes; 0 when it can't be told without reading it."""
    if deletes_logs(job.provider) or job.log_size:
        return job.log_size
    piece = read_log(job, start=BEYOND_END, limit=1)
    return piece.end if piece.end < BEYOND_END else 0


def read_log(job: Job, *, start: int = 0, limit: int | None = None) -> LogSlice:
    """Return the log from byte `start`. Empty while there is none; a log that can't be read says so in its text."""
    limit = READ_LIMIT_BYTES if limit is None else limit
    if not job.external_id:
        return LogSlice(text="", start=0, end=0, complete=job.is_terminal)
    # A copy stays readable when its provider is no more.
    if deletes_logs(job.provider) or job.log_size:
        return _read_copy(job, start, limit)
    try:
        return _read_live(job, Handle(job.pk, job.external_id), start, limit)
    except ProviderError as error:
        text = f"[the log can't be read now: {error}]\n"
        return LogSlice(text=text, start=start, end=start, complete=job.is_terminal)


def _read_live(job: Job, handle: Handle, start: int, limit: int) -> LogSlice:
    """Read from the provider, with the job's own secrets masked: its trainer may have printed them."""
    provider = get_provider(job.provider)
    lend_connection()
    try:
        return asyncio.run(provider.read_log(handle, start=start, limit=limit, scrubber=scrubber_of(job)))
    except SecretsLostError:
        piece = asyncio.run(provider.read_log(handle, start=start, limit=limit))
        return replace(piece, text=mask_text(piece.text))


def _read_copy(job: Job, start: int, limit: int) -> LogSlice:
    """Read from our copy, which may grow meanwhile, but never changes what it has."""
    data, end = b"", start
    for piece in LogPiece.objects.filter(job=job, end__gt=start).order_by("start").iterator(chunk_size=20):
        data += piece.text.encode()[max(0, start - piece.start) :]
        if len(data) >= limit:
            break
    # From the next whole character to the last one.
    characters = data.lstrip(CONTINUATION_BYTES)
    start += len(data) - len(characters)
    text = characters[:limit].decode("utf-8", "ignore")
    end = start + len(text.encode())
    return LogSlice(text, start, end, complete=job.is_terminal and job.log_due_at is None and end >= job.log_size)


def claim_view(job: Job) -> bool:
    """Whether the caller is the one to ask the provider for the log of a job that somebody views."""
    if not deletes_logs(job.provider) or not job.external_id or (job.is_terminal and job.log_due_at is None):
        return False
    now = timezone.now()
    is_due = Q(log_fetched_at=None) | Q(log_fetched_at__lte=now - VIEW_INTERVAL)
    return bool(Job.objects.filter(is_due, pk=job.pk).update(log_fetched_at=now, log_due_at=now + QUIET_INTERVAL))


def store_log(job: Job, snapshot: Snapshot) -> bool:
    """Store the new part of the log that came with `snapshot`. False: nothing is new, or another process was first.

    An ended job's log is complete after this, whether all of it was available or not.
    """
    if not deletes_logs(job.provider):
        return False
    # Masking keeps the number of bytes, so that offsets stay valid.
    data = without_secrets(job, snapshot.log or "").encode()
    is_final = snapshot.data_removed or snapshot.status in TERMINAL  # not a late snapshot from before the end
    is_end = job.is_terminal and job.log_due_at is not None and is_final
    text = data[max(0, job.log_size - snapshot.log_start) :].decode("utf-8", "replace")
    if is_end and snapshot.data_removed and snapshot.log_start + len(data) <= job.log_size:
        text = LOST_TEXT
    return _append(job, text, is_end=is_end)


def _append(job: Job, text: str, *, is_end: bool) -> bool:
    fields = {"log_due_at": None} if is_end else {}
    if not text:
        if is_end:
            Job.objects.filter(pk=job.pk, log_size=job.log_size).update(**fields)
        return False
    size = job.log_size + len(text.encode())
    with joined_unit():
        unchanged = {"id": job.pk, "log_size": job.log_size, "deleted_at": None}
        if not update_if(Job, unchanged, {"log_size": size, **fields}):
            return False
        insert([LogPiece(job=job, start=job.log_size, end=size, text=text)])
    job.log_size = size
    return True


def stop_capture(job: Job) -> None:
    """Complete the log of an ended job that the provider no longer knows: nothing more will come."""
    _append(job, LOST_TEXT, is_end=True)


def last_lines(text: str, count: int) -> str:
    return "".join(text.splitlines(keepends=True)[-count:])
