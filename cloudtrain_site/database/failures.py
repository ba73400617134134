"""What to say when the database, or the disk, is full, can't be written to, or is away."""

from __future__ import annotations

import errno
import logging
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import Error, ProgrammingError

logger = logging.getLogger("simpletuner.cloud.http")

#: One failure is logged once in this time, not with each request that meets it.
LOG_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a request: its code and status, a heading for people, and what to do."""

    code: str
    status: int
    heading: str
    remedy: str
    #: Seconds after which to try again; None: not before somebody has done something.
    retry_after: int | None = None

    @property
    def detail(self) -> str:
        """What went wrong and what to do, in sentences."""
        return f"{self.heading}, so this could not be done. {self.remedy}"


FULL = Failure("storage_full", 507, "The disk is full", "The site's operator must free some space. Then try again.")
NOT_WRITABLE = Failure(
    "storage_not_writable",
    507,
    "The database can't be written to",
    "The site's operator must make the database and its disk writable. Then try again.",
)
AWAY = Failure("database_unavailable", 503, "The database does not answer", "Try again in a few seconds.", 2)
BUSY = Failure("database_busy", 503, "The database is busy", "Try again in a few seconds.", 2)

_BY_ERRNO = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: NOT_WRITABLE}
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: NOT_WRITABLE,
    sqlite3.SQLITE_IOERR: NOT_WRITABLE,
    # On a read-only disk even a reader can't make the files beside the database.
    sqlite3.SQLITE_CANTOPEN: NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
}
#: By PostgreSQL's SQLSTATE, or its class, the first two characters.
_BY_SQLSTATE = {
    "08": AWAY,  # connection exception
    "25006": NOT_WRITABLE,  # read-only transaction, as on a standby
    "40001": BUSY,  # serialization failure
    "40P01": BUSY,  # deadlock
    "53100": FULL,
    "53": AWAY,  # too many connections, out of memory: passes by itself
    "55P03": BUSY,  # lock not available
    "57P01": AWAY,  # shut down, terminated
    "57P02": AWAY,  # crashed
    "57P03": AWAY,  # starts up
    "58030": NOT_WRITABLE,  # input or output error
}
#: Of "0A000", not supported: an upgrade has changed a column under a statement that this connection keeps, and the next
#: transaction does without that.
CHANGED_RESULT = "cached plan must not change result type"
#: Django raises these while it handles the database's error; a mistake of ours, made there, is to show as one.
_RAISED_DURING = (Error, UpdateError, SessionInterrupted)
#: Django's words after a connection was lost within a transaction, when the code there goes on.
_LOST_WITHIN = "Cannot open a new connection in an atomic block."


def failure_of(error: BaseException) -> Failure | None:
    """Return what `error`, or what it was raised from, says of the database or the disk; None: nothing."""
    return next(filter(None, map(_failure_of_one, _chain(error))), None)


def is_lost_connection(error: BaseException) -> bool:
    """Whether the connection to the database is gone, so that another one may work."""
    return failure_of(error) is AWAY


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (error.__context__ if isinstance(error, _RAISED_DURING) else None)


def _failure_of_one(error: BaseException) -> Failure | None:
    if isinstance(error, sqlite3.Error):
        # Only errors of SQLite itself have a code; its low byte is the kind.
        return _BY_SQLITE_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0)
    if isinstance(error, ProgrammingError) and str(error) == _LOST_WITHIN:
        return AWAY
    return _failure_of_postgresql(error)


def _failure_of_postgresql(error: BaseException) -> Failure | None:
    psycopg = sys.modules.get("psycopg")  # 9 MB, which SQLite doesn't need
    if psycopg is None or not isinstance(error, psycopg.Error):
        return None
    if error.sqlstate == "0A000" and CHANGED_RESULT in str(error):
        return BUSY
    if error.sqlstate is not None:
        return _BY_SQLSTATE.get(error.sqlstate) or _BY_SQLSTATE.get(error.sqlstate[:2])
    # The server has said nothing: the connection broke, or could not be made.
    return AWAY if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else None


_logged_at: dict[Failure, float] = {}
_met_at: dict[Failure, float] = {}


def noted_failure(error: BaseException, consequence: str = "Requests fail") -> Failure | None:
    """As `failure_of`, and log it, once in LOG_PAUSE_SECONDS, and remember it for `lately_met`."""
    failure = failure_of(error)
    if failure is not None:
        now = _met_at[failure] = time.monotonic()
        if now - _logged_at.get(failure, float("-inf")) >= LOG_PAUSE_SECONDS:
            _logged_at[failure] = now
            extra = {"code": failure.code, "error": f"{type(error).__name__}: {error}"}
            logger.error("%s: %s", consequence, failure.heading.lower(), extra=extra)
    return failure


def lately_met(seconds: float) -> Failure | None:
    """Return why a request of this process could not save anything within the last `seconds`."""
    since = time.monotonic() - seconds
    return next((failure for failure in (FULL, NOT_WRITABLE) if _met_at.get(failure, float("-inf")) > since), None)
