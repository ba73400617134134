"""Whether somebody has written since the last look, for code that looks often: it costs a hundredth of a look."""

from __future__ import annotations

import time

from django.db import connection


class Changes:
    """The changes of a SQLite file by other connections than the present one.

    The database of a server says nothing of the kind: there each look finds changes.
    """

    def __init__(self, most_seconds: float) -> None:
        """After `most_seconds` changes are supposed anyway: something may be due by time alone."""
        self._most_seconds = most_seconds
        self._seen: tuple[object, int] | None = None
        self._due_at = 0.0

    def found(self) -> bool:
        """Whether there may be changes since the last time that this was true."""
        if connection.vendor != "sqlite":
            return True
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            # The numbers of two connections can't be compared.
            seen = (connection.connection, cursor.fetchone()[0])
        now = time.monotonic()
        if seen == self._seen and now < self._due_at:
            return False
        self._seen, self._due_at = seen, now + self._most_seconds
        return True
