"""Connections from the pool that are alive, and an error at once while the server is away.

psycopg's pool gives out connections that a restart has cut, each of which fails a request, and while it can't make any,
each request waits for its whole timeout. Its own check costs a round trip, and pauses for a second after the second
dead connection.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg import OperationalError
from psycopg_pool import ConnectionPool, PoolTimeout

from cloudtrain_site.database.postgresql import kept_statements

#: A request waits for as long while all connections are busy, as in a burst of a thousand browsers.
BUSY_SECONDS = 20.0
#: While the server is away, one request after this time finds out whether it is back; the others fail at once.
RETRY_SECONDS = 0.5
#: That one is given so long: two attempts to connect, each as long as `connect_timeout` lets it be.
ATTEMPT_SECONDS = 7.0
#: The pool's own warnings, of each failure to connect, are logged once in this time.
WARNING_PAUSE_SECONDS = 60.0


class _Seldom(logging.Filter):
    """Lets a message pass once in WARNING_PAUSE_SECONDS, whatever its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._passed_at.get(record.msg, float("-inf")) < WARNING_PAUSE_SECONDS:
            return False
        self._passed_at[record.msg] = now
        return True


logging.getLogger("psycopg.pool").addFilter(_Seldom())


class _Outage:
    """Whether the pool could make no connection, and when to try again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.began_at: float | None = None
        self._retry_at = 0.0

    def begin(self, pool: ConnectionPool[Any]) -> None:
        """Note that the pool gave up making a connection. While it has others the server is full, and not away."""
        if pool.get_stats()["pool_size"] == 0:
            with self._lock:
                self.began_at = time.monotonic()
                self._retry_at = self.began_at + RETRY_SECONDS

    def end(self) -> None:
        self.began_at = None

    def check(self) -> None:
        """Raise OperationalError during an outage, but for the one caller that is to try again."""
        if self.began_at is None:
            return
        with self._lock:
            now = time.monotonic()
            if now < self._retry_at:
                raise OperationalError("the server did not answer lately")
            self._retry_at = now + ATTEMPT_SECONDS

    def has_begun_since(self, at: float) -> bool:
        return self.began_at is not None and self.began_at >= at


outage = _Outage()


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, with another way to take a connection from the pool."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a living connection. Raises OperationalError at once during an outage, else after BUSY_SECONDS."""
        if self.pool is None:
            return super().get_new_connection(conn_params)
        began = time.monotonic()
        outage.check()
        while True:
            try:
                connection = super().get_new_connection(conn_params)
            except PoolTimeout:
                # The pool's timeout is short, so that those who wait learn of an outage.
                if outage.has_begun_since(began) or time.monotonic() - began > BUSY_SECONDS:
                    raise
                continue
            if _is_alive(connection):
                outage.end()
                return connection
            self._replace_all(connection)

    def _configure_connection(self, connection: Any) -> bool:
        """Prepare a new connection, whether it is the pool's or not. Returns whether there is something to commit."""
        kept_statements.note_whether_direct(connection)
        super()._configure_connection(connection)  # type: ignore[misc]  # the stubs lack it
        return True

    def execute_kept(self, sql: str, params: Sequence[Any]) -> Any:
        """Execute a statement whose text is the same each time. Returns what has the rows, as a cursor has them."""
        if self.queries_logged or self.execute_wrappers:
            cursor = self.cursor()
            cursor.execute(sql, params)
            return cursor
        if self.connection is None:
            self.ensure_connection()
        self.validate_no_broken_transaction()
        with self.wrap_database_errors:
            return kept_statements.kept_statements_of(self.connection).execute(sql, params)

    def _replace_all(self, dead: Any) -> None:
        """Give back a dead connection and replace the idle ones: what has cut one has mostly cut all."""
        self.pool.putconn(dead)
        self.pool.drain()


def _is_alive(connection: Any) -> bool:
    """Whether the server has not ended the connection.

    It tells so: an idle connection has something to read only then, or for one of its notices. To look costs 1 us; a
    round trip on the same machine costs 55.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True
