"""Connections to SQLite that outlive their request.

With its first statement a new connection reads the schema of all tables, which takes 2 ms of the processor, where a
statement takes 0.02; and it compiles each statement anew. Under ASGI each request has a thread of its own, and with
that a connection.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from django.db.backends.sqlite3 import base

#: Idle ones that are kept, each with its cache: after a burst no more.
MOST_IDLE = 8

#: Which file it is, and whether it and its folder can be written: a connection finds that out when it is opened.
Identity: TypeAlias = tuple[object, ...]

_idle: list[tuple[Identity, Any]] = []


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, which gets an idle connection where there is one, and leaves its own to the next."""

    #: Whether its functions and settings are there already.
    is_reused = False
    _identity: Identity = ()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._identity = _identity_of(str(conn_params["database"]))
        while (found := _pop()) is not None:
            identity, connection = found
            if identity == self._identity:
                self.is_reused = True
                return connection
            connection.close()
        self.is_reused = False
        return super().get_new_connection(conn_params)

    def is_usable(self) -> bool:
        """Whether to go on with it after an error: a new one may do better."""
        return False

    def _close(self) -> None:
        is_sound = not self.errors_occurred and not self.connection.in_transaction
        if is_sound and self._identity and len(_idle) < MOST_IDLE:
            _idle.append((self._identity, self.connection))
        else:
            super()._close()  # type: ignore[misc]  # the stubs leave it out


def close_idle() -> None:
    """Close those that nobody uses."""
    while (found := _pop()) is not None:
        found[1].close()


# A connection that came through a fork would be two processes' at once.
os.register_at_fork(before=close_idle)


def _pop() -> tuple[Identity, Any] | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def _identity_of(path: str) -> Identity:
    """Return it; empty: there is no file, as of a database in memory."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of each request
    except OSError:
        return ()
    folder = os.path.dirname(path)  # noqa: PTH120
    return (path, status.st_dev, status.st_ino, os.access(path, os.W_OK), os.access(folder, os.W_OK))
