"""Connections to SQLite that outlive their request.

With its first statement a new connection reads the schema of all tables, which takes 2 ms of the processor, where a
statement takes 0.02; and it compiles each statement anew. Under ASGI each request has a thread of its own, and with
that a connection.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, TypeAlias
from weakref import WeakSet

from django.db.backends.sqlite3 import base

#: How many idle connections are kept, each with its cache: a burst of requests leaves MOST_IDLE, of which LEAST_IDLE
#: stay when nobody takes the others for UNNEEDED_SECONDS.
MOST_IDLE, LEAST_IDLE = 8, 3
UNNEEDED_SECONDS = 2.0
#: A longer statement is one for many values, and not executed often.
LONGEST_KEPT = 10_000

#: Which file it is, and whether it and its folder can be written: a connection finds that out when it is opened.
Identity: TypeAlias = tuple[object, ...]

#: The last one is taken first. Each with the time since when it is idle.
_idle: list[tuple[Identity, Any, float]] = []


_with_question_marks = lru_cache(maxsize=256)(
    partial(base.SQLiteCursorWrapper.convert_query, None)  # type: ignore[arg-type]  # it uses nothing of the cursor
)


class _Cursor(base.SQLiteCursorWrapper):
    """Django's cursor, which searches a statement for its placeholders once, and not at each execution."""

    def convert_query(self, query: str, *, param_names: Any = None) -> str:
        is_kept = param_names is None and len(query) <= LONGEST_KEPT
        return str(_with_question_marks(query) if is_kept else super().convert_query(query, param_names=param_names))


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper, which takes an idle connection where there is one, and leaves its own to the next request."""

    #: Whether its functions and settings are there already.
    is_reused = False
    _identity: Identity = ()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._cursors: WeakSet[Any] = WeakSet()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._identity = _identity_of(str(conn_params["database"]))
        self._cursors.clear()  # an error's traceback can keep one of the connection before
        while (found := _pop()) is not None:
            identity, connection, _ = found
            if identity == self._identity:
                self.is_reused = True
                return connection
            connection.close()
        self.is_reused = False
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = self.connection.cursor(factory=_Cursor)
        self._cursors.add(cursor)
        return cursor

    def is_usable(self) -> bool:
        """Whether to go on with it after an error: a new one may do better."""
        return False

    def _close(self) -> None:
        is_sound = not self.errors_occurred and not self.connection.in_transaction
        if is_sound and self._identity and len(_idle) < MOST_IDLE:
            # An error's traceback can keep a query that was read in part. The next request would see the tables as they
            # were then, and could not write.
            for cursor in self._cursors:
                cursor.close()
            _idle.append((self._identity, self.connection, time.monotonic()))
            _close_unneeded()
        else:
            super()._close()  # type: ignore[misc]  # the stubs leave it out


def close_idle() -> None:
    """Close the idle connections."""
    while (found := _pop()) is not None:
        found[1].close()


def _close_unneeded() -> None:
    """Close those that a burst has left, and that nobody took since."""
    latest = time.monotonic() - UNNEEDED_SECONDS
    for one in _idle[:-LEAST_IDLE]:
        if one[2] < latest:
            with suppress(ValueError):  # another thread has just taken it
                _idle.remove(one)
                one[1].close()


# Two processes would use a connection that came through a fork.
os.register_at_fork(before=close_idle)


def _pop() -> tuple[Identity, Any, float] | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def _identity_of(path: str) -> Identity:
    """Return the identity of the file; empty: there is no file, as for a database in memory."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of each request
    except OSError:
        return ()
    folder = os.path.dirname(path)  # noqa: PTH120
    return (path, status.st_dev, status.st_ino, os.access(path, os.W_OK), os.access(folder, os.W_OK))
