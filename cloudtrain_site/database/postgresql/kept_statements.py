"""Statements that the server parses and plans once for a connection, and not at each execution.

To parse and plan a statement takes the server twice as long as to execute it, and psycopg longer to write the values
into its text than to send them beside it. The statements of `fast_sql` and `Prepared` have the same text each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from psycopg import RawCursor
from psycopg.errors import FeatureNotSupported
from psycopg.types.numeric import Int8Dumper, IntDumper, IntNumericDumper

from cloudtrain_site.database.failures import CHANGED_RESULT

#: A statement is kept from this execution on: to keep it costs a round trip.
KEPT_FROM = 3
#: For each connection. Each took 20 to 100 kB of the server.
MOST_KEPT = 200
BIGINTS = range(-(2**63), 2**63)
#: To compile a plan has taken 0.7 s, which no statement of a page gets back: it reads few rows, however many there are.
_WITHOUT_JIT = "SELECT set_config('jit', 'off', false) WHERE pg_backend_pid() = %s"


class _BigintDumper(IntDumper):
    """Sends each number as a bigint: psycopg's own takes the smallest type, each of which makes another statement."""

    _bigint, _numeric = Int8Dumper(int), IntNumericDumper(int)

    def get_key(self, obj: int, format: Any) -> Any:
        return Int8Dumper if obj in BIGINTS else IntNumericDumper

    def upgrade(self, obj: int, format: Any) -> Any:
        return self._bigint if obj in BIGINTS else self._numeric


class _Cursor(RawCursor[Any]):
    """The one cursor of a connection for such statements: their rows are read before the next is executed."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.adapters.register_dumper(int, _BigintDumper)
        connection.prepared_max = MOST_KEPT

    def run(self, sql: str, params: Sequence[Any]) -> None:
        # The threshold is set for this cursor alone: psycopg would count each statement of the other ones, with their
        # values in it.
        connection: Any = self.connection
        connection.prepare_threshold = KEPT_FROM - 1 if connection.is_direct else None
        try:
            super().execute(_numbered(sql), params)
        except FeatureNotSupported as error:
            if not connection.autocommit or CHANGED_RESULT not in str(error):
                raise  # the rollback drops what is kept
            super().execute("DEALLOCATE ALL")
            super().execute(_numbered(sql), params)
        finally:
            connection.prepare_threshold = None


@lru_cache(maxsize=2 * MOST_KEPT)
def _numbered(sql: str) -> bytes:
    """Return the statement with PostgreSQL's own placeholders.

    psycopg would do it anew at each execution of a statement with more than 50 parameters, as that of a new job.
    """
    first, *others = sql.split("%s")
    text = first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1))
    return text.replace("%%", "%").encode()


def note_whether_direct(connection: Any) -> None:
    """Note in a new connection of psycopg whether it leads to the server directly, and if so, set what is its own.

    A pooler may give each transaction to another process of the server, which does not have what this connection keeps,
    or has a statement of another client under the same name.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_JIT, [connection.info.backend_pid])
        connection.is_direct = cursor.fetchone() is not None


def execute(connection: Any, sql: str, params: Sequence[Any]) -> RawCursor[Any]:
    """Execute the statement on psycopg's connection. Returns the cursor, whose rows must be read at once."""
    cursor = getattr(connection, "cursor_of_kept_statements", None)
    if cursor is None:
        cursor = connection.cursor_of_kept_statements = _Cursor(connection)
    cursor.run(sql, params)
    return cursor
