"""Statements that the server parses and plans once for a connection, and not at each execution.

To parse and plan a statement takes the server twice as long as to execute it, and psycopg longer to write the values
into its text than to send them beside it. The statements of `fast_sql` and `Prepared` have the same text each time.

They are executed by what psycopg's cursors use themselves: a cursor, which may have anything to execute, calls sixty
functions for each, and takes twice as long of the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from psycopg import RawCursor
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import FeatureNotSupported, error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.types.numeric import Int8Dumper, IntDumper, IntNumericDumper

from cloudtrain_site.database.failures import CHANGED_RESULT

#: A statement is kept from this execution on: to keep it costs a round trip.
KEPT_FROM = 3
#: For each connection. Each took 20 to 100 kB of the server.
MOST_KEPT = 200
#: A connection counts the executions of so many statements that it doesn't keep yet, and then counts anew.
MOST_COUNTED = 10 * MOST_KEPT
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


class Answer:
    """As much of a cursor as is asked for."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def fetchall(self) -> list[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None


#: A statement's text, and the types of its values.
Key: TypeAlias = tuple[bytes, tuple[int, ...]]


class KeptStatements:
    """The statements of one connection: what it keeps, and their execution."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._server = connection, connection.pgconn
        context = RawCursor(connection)
        context.adapters.register_dumper(int, _BigintDumper)
        self._values = Transformer(context)
        self._executions: dict[Key, int] = {}
        self._names: dict[Key, bytes] = {}

    def execute(self, sql: str, params: Sequence[Any]) -> Answer:
        """Execute the statement. Raises psycopg's errors."""
        connection = self._connection
        if not connection.autocommit and self._server.transaction_status == TransactionStatus.IDLE:
            connection.wait(connection._start_query())
        try:
            return self._execute(_numbered(sql), params)
        except FeatureNotSupported as error:
            if CHANGED_RESULT not in str(error):
                raise
            self._names.clear()
            if not connection.autocommit:
                raise
            return self._execute(_numbered(sql), params)

    def _execute(self, text: bytes, params: Sequence[Any]) -> Answer:
        values = self._values
        dumped = values.dump_sequence(params, [PyFormat.AUTO] * len(params))
        types, formats = values.types or (), values.formats
        name = self._name_of((text, types)) if self._connection.is_direct else None
        if name is None:
            self._server.send_query_params(text, dumped, types, formats, Format.TEXT)
        else:
            self._server.send_query_prepared(name, dumped, formats, Format.TEXT)
        result = self._result()
        if result.status == ExecStatus.COMMAND_OK:
            return Answer([], result.command_tuples or 0)
        values.set_pgresult(result)
        return Answer(values.load_rows(0, result.ntuples, tuple), result.ntuples)

    def _name_of(self, key: Key) -> bytes | None:
        """Return the name under which the statement is kept; None: it is not, or not yet."""
        if (name := self._names.get(key)) is not None:
            return name
        if key not in self._executions and len(self._executions) >= MOST_COUNTED:
            self._executions.clear()
        self._executions[key] = self._executions.get(key, 0) + 1
        if self._executions[key] < KEPT_FROM or self._server.transaction_status == TransactionStatus.INERROR:
            return None
        if not self._names or len(self._names) >= MOST_KEPT:
            self._server.send_query(b"DEALLOCATE ALL")
            self._result()
            self._names.clear()
        name = b"kept_%d" % len(self._names)
        self._server.send_prepare(name, *key)
        self._result()
        self._names[key] = name
        del self._executions[key]
        return name

    def _result(self) -> Any:
        """Wait for the result of what was sent, as psycopg does: a signal ends the wait."""
        result = self._connection.wait(execute(self._server))[-1]
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result, self._connection.info.encoding)
        return result


@lru_cache(maxsize=2 * MOST_KEPT)
def _numbered(sql: str) -> bytes:
    """Return the statement with PostgreSQL's own placeholders."""
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


def kept_statements_of(connection: Any) -> KeptStatements:
    """Return those of psycopg's connection."""
    statements: KeptStatements | None = getattr(connection, "kept_statements", None)
    if statements is None:
        statements = connection.kept_statements = KeptStatements(connection)
    return statements
