"""What an error says of the database or the disk."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable

import psycopg
import psycopg_pool
import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import DatabaseError, OperationalError, ProgrammingError

from cloudtrain_site.database import failures
from cloudtrain_site.database.failures import (
    AWAY,
    BUSY,
    FULL,
    NOT_WRITABLE,
    Failure,
    failure_of,
    lately_met,
    noted_failure,
)


def of_sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


def raised_from(cause: Exception, make: Callable[[], Exception] = OperationalError) -> Exception:
    """As Django raises the library's error."""
    try:
        raise make() from cause
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (raised_from(of_sqlite(sqlite3.SQLITE_FULL)), FULL),
        (raised_from(of_sqlite(sqlite3.SQLITE_READONLY)), NOT_WRITABLE),
        (raised_from(of_sqlite(sqlite3.SQLITE_READONLY_DBMOVED)), NOT_WRITABLE),
        (raised_from(of_sqlite(sqlite3.SQLITE_IOERR_WRITE)), NOT_WRITABLE),
        (raised_from(of_sqlite(sqlite3.SQLITE_CANTOPEN)), NOT_WRITABLE),
        (raised_from(of_sqlite(sqlite3.SQLITE_BUSY)), BUSY),
        (raised_from(psycopg.errors.DiskFull()), FULL),
        (raised_from(psycopg.errors.ReadOnlySqlTransaction()), NOT_WRITABLE),
        (raised_from(psycopg.errors.AdminShutdown()), AWAY),
        (raised_from(psycopg.errors.CannotConnectNow()), AWAY),
        (raised_from(psycopg.errors.TooManyConnections()), AWAY),
        (raised_from(psycopg.errors.OutOfMemory()), AWAY),
        (raised_from(psycopg.errors.DeadlockDetected()), BUSY),
        (raised_from(psycopg.OperationalError("the connection is closed")), AWAY),
        (raised_from(psycopg_pool.PoolTimeout()), AWAY),
        (ProgrammingError("Cannot open a new connection in an atomic block."), AWAY),
        (OSError(errno.ENOSPC, ""), FULL),
        (OSError(errno.EDQUOT, ""), FULL),
        (OSError(errno.EROFS, ""), NOT_WRITABLE),
    ],
)
def test_a_failure_is_recognized(error: Exception, failure: Failure) -> None:
    assert failure_of(error) is failure


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        OSError(errno.ENOENT, ""),
        ConnectionRefusedError(errno.ECONNREFUSED, ""),  # some other server's
        raised_from(of_sqlite(sqlite3.SQLITE_CONSTRAINT)),
        raised_from(of_sqlite(sqlite3.SQLITE_CORRUPT)),
        raised_from(sqlite3.ProgrammingError("You did not supply a value for binding 1.")),
        raised_from(psycopg.errors.UndefinedTable()),
        raised_from(psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")),
        ProgrammingError("something else"),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert failure_of(error) is None


def raised_during(during: Exception, make: type[Exception]) -> Exception:
    try:
        try:
            raise during
        except Exception:
            raise make("another")  # noqa: B904
    except Exception as error:
        return error


def test_a_session_that_could_not_be_saved_is_one() -> None:
    """Django raises that it was deleted, while it handles the database's error."""
    full = raised_from(of_sqlite(sqlite3.SQLITE_FULL), DatabaseError)
    assert failure_of(raised_during(raised_during(full, UpdateError), SessionInterrupted)) is FULL


def test_a_mistake_that_is_made_while_one_is_handled_is_none() -> None:
    assert failure_of(raised_during(OSError(errno.ENOSPC, ""), AttributeError)) is None


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for remembered in ("_logged_at", "_met_at"):
        monkeypatch.setattr(failures, remembered, {})


def test_a_failure_is_logged_once(fresh: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert noted_failure(OSError(errno.ENOSPC, "")) is FULL
        noted_failure(OSError(errno.EROFS, ""))
        noted_failure(ValueError())
    assert [record.getMessage() for record in caplog.records] == [
        "Requests fail: the disk is full",
        "Requests fail: the database can't be written to",
    ]


def test_what_could_not_be_saved_is_remembered_for_a_while(fresh: None) -> None:
    assert lately_met(60.0) is None
    noted_failure(raised_from(psycopg.errors.AdminShutdown()))
    assert lately_met(60.0) is None  # that is over as soon as the database answers
    noted_failure(OSError(errno.ENOSPC, ""))
    assert lately_met(60.0) is FULL
    assert lately_met(0.0) is None
