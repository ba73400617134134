"""Whether the database can be written to: asked for by load balancers, so it costs little."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import Error, connection, transaction

from cloudtrain_site.database.failures import BUSY, FULL, NOT_WRITABLE, Failure, failure_of

#: The answer holds for this long, in each process.
PROBE_SECONDS = 3.0
#: A job and what belongs to it may need as much.
MIN_FREE_BYTES = 2_000_000
#: A probe must not wait for a long writer as others do: a database that somebody writes to can be written to.
SQLITE_WAIT_MS = 100


class _Probe:
    """The last answer, and when it was found."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = float("-inf")
        self.failure: Failure | None = None


_probe = _Probe()


def write_failure() -> Failure | None:
    """Return why the database can't be written to; None: it can. Raises the database's error when it is away."""
    with _probe.lock:
        if time.monotonic() - _probe.at >= PROBE_SECONDS:
            _probe.failure = _try_to_write()
            _probe.at = time.monotonic()
        return _probe.failure


def forget_last_probe() -> None:
    """Have the next call probe."""
    _probe.at = float("-inf")


def _try_to_write() -> Failure | None:
    if connection.vendor == "sqlite" and _has_no_room(Path(connection.settings_dict["NAME"])):
        return FULL
    try:
        _write_to_sqlite() if connection.vendor == "sqlite" else _write_and_roll_back()
    except Error as error:
        failure = failure_of(error)
        if failure in (FULL, NOT_WRITABLE):
            return failure
        if failure is not BUSY:
            raise
    return None


def _has_no_room(file: Path) -> bool:
    """Whether the file's disk is full. A page may still have room in the files beside it, which keep some for later."""
    try:
        disk = os.statvfs(file)
    except OSError:
        return False  # the write says what is wrong
    return disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES


def _write_to_sqlite() -> None:
    """Commit one page: only the commit finds that a quota is used up. No table has the number, and nobody reads it."""
    with _short_wait(), connection.cursor() as cursor:
        cursor.execute("PRAGMA user_version = 1")


@contextmanager
def _short_wait() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        (before,) = cursor.fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT_MS}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {before}")


def _write_and_roll_back() -> None:
    """Write a row that nobody else writes to: a standby refuses, and so does a disk without room for it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_migrations SET app = app WHERE id = (SELECT MIN(id) FROM django_migrations)")
        transaction.set_rollback(True)
