"""Statements that PostgreSQL keeps parsed for a connection, and when they may not be kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections
from django.db.utils import ConnectionHandler
from django.test.utils import CaptureQueriesContext

from cloudtrain_site.database.failures import BUSY, failure_of
from cloudtrain_site.database.postgresql import kept_statements
from cloudtrain_site.database.postgresql.kept_statements import KEPT_FROM

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

QUERY = "SELECT number, name FROM kept WHERE number = %s"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(opened: ExitStack, **settings: Any) -> Any:
    """A connection of its own, with a table of two rows."""
    connection: Any = ConnectionHandler({"default": {**connections["default"].settings_dict, **settings}})["default"]
    opened.callback(connection.close)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE kept (number integer, name varchar(10))")
        cursor.execute("INSERT INTO kept VALUES (1, 'one'), (70000, 'many')")
    return connection


def compiles_plans(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        return bool(cursor.fetchone()[0] == "on")


def rows(connection: Any, number: int) -> list[tuple[int, str]]:
    return [tuple(row) for row in connection.execute_kept(QUERY, [number]).fetchall()]


def kept(connection: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


@contextmanager
def pooler() -> Iterator[int]:
    """A stand-in for PgBouncer: it names a backend of its own to the client, as poolers do. Yields its port."""
    database = connections["default"].settings_dict
    listener = socket.create_server(("127.0.0.1", 0))

    def relay(source: socket.socket, target: socket.socket, key: bytes = b"", own: bytes = b"") -> None:
        with source, target, suppress(OSError):
            while part := source.recv(65536):
                at = part.find(key) if key else -1
                target.sendall(part if at < 0 else part[:at] + own + part[at + len(own) :])

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            behind = socket.create_connection((database["HOST"], int(database["PORT"])))
            threading.Thread(target=relay, args=(client, behind), daemon=True).start()
            key = b"K\x00\x00\x00\x0c"  # BackendKeyData of 12 bytes: the number of the backend, and a secret
            threading.Thread(target=relay, args=(behind, client, key, key + b"\x00\x00\x00\x01"), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_repeated_statement_is_kept_once_whatever_the_size_of_its_numbers(opened: ExitStack) -> None:
    connection = connected(opened)
    expected = {1: [(1, "one")], 70000: [(70000, "many")], 2**40: [], 2**70: []}
    for number in (1, 70000, 2**40, 1):
        assert rows(connection, number) == expected[number]
    assert kept(connection) == ["SELECT number, name FROM kept WHERE number = $1"]
    assert rows(connection, 2**70) == []


def test_a_query_that_is_captured_is_not_kept(opened: ExitStack) -> None:
    connection = connected(opened)
    with CaptureQueriesContext(connection) as queries:
        assert [rows(connection, 1) for _ in range(5)] == [[(1, "one")]] * 5
    assert (len(queries), kept(connection)) == (5, [])


def with_changed_column(opened: ExitStack) -> Any:
    """A connection that keeps a statement whose column has changed its type since."""
    connection = connected(opened)
    for _ in range(4):
        rows(connection, 1)
    assert len(kept(connection)) == 1
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE kept ALTER COLUMN name TYPE varchar(20)")
    return connection


def test_a_column_that_changes_under_a_kept_statement_fails_no_reader(opened: ExitStack) -> None:
    connection = with_changed_column(opened)
    assert rows(connection, 1) == [(1, "one")]
    assert [rows(connection, 70000) for _ in range(4)] == [[(70000, "many")]] * 4
    assert len(kept(connection)) == 1


def test_within_a_transaction_it_is_an_error_that_passes(opened: ExitStack) -> None:
    connection = with_changed_column(opened)
    connection.set_autocommit(False)
    with pytest.raises(DatabaseError) as refusal:
        rows(connection, 1)
    connection.rollback()
    connection.set_autocommit(True)
    assert failure_of(refusal.value) is BUSY
    assert rows(connection, 1) == [(1, "one")]


def test_a_rollback_drops_nothing_that_is_kept(opened: ExitStack) -> None:
    connection = connected(opened)
    connection.set_autocommit(False)
    for _ in range(4):
        rows(connection, 1)
    connection.rollback()
    connection.set_autocommit(True)
    assert rows(connection, 1) == [(1, "one")]
    assert kept(connection) == ["SELECT number, name FROM kept WHERE number = $1"]


def test_of_more_statements_than_a_connection_keeps_each_is_answered(
    opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_statements, "MOST_KEPT", 3)
    connection = connected(opened)
    for number in [*range(5), *range(5)] * KEPT_FROM:
        assert connection.execute_kept(f"SELECT name, {number} FROM kept WHERE number = %s", [1]).fetchall() == [
            ("one", number)
        ]
        assert len(kept(connection)) <= 3


def test_a_connection_counts_a_bounded_number_of_statements(opened: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_statements, "MOST_COUNTED", 3)
    connection = connected(opened)
    statements = kept_statements.kept_statements_of(connection.connection)
    for number in range(8):
        connection.execute_kept(f"SELECT name, {number} FROM kept WHERE number = %s", [1])
        assert len(statements._executions) <= 3
    for _ in range(KEPT_FROM):
        rows(connection, 1)
    assert kept(connection) == ["SELECT number, name FROM kept WHERE number = $1"]


def test_a_refused_statement_leaves_what_is_kept_usable(opened: ExitStack) -> None:
    connection = connected(opened)
    for _ in range(4):
        rows(connection, 1)
    with pytest.raises(DatabaseError):
        connection.execute_kept("SELECT 1 / %s", [0])
    assert rows(connection, 1) == [(1, "one")]


def test_a_connection_that_the_server_has_cut_raises_an_operational_error(opened: ExitStack) -> None:
    connection, other = connected(opened), connected(opened)
    for _ in range(4):
        rows(connection, 1)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    with pytest.raises(OperationalError):
        rows(connection, 1)


def test_the_server_compiles_no_plan_of_a_connection(opened: ExitStack) -> None:
    connection = connected(opened)
    connection.set_autocommit(False)
    connection.rollback()
    assert not compiles_plans(connection)


def test_behind_a_pooler_nothing_is_kept_or_set(opened: ExitStack) -> None:
    connection = connected(opened, PORT=str(opened.enter_context(pooler())))
    assert compiles_plans(connection), "as the server has it"
    assert [rows(connection, 1) for _ in range(5)] == [[(1, "one")]] * 5
    assert kept(connection) == []
