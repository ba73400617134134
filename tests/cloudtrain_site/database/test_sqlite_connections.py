"""Connections to SQLite that outlive their request."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, ProgrammingError, connections

from cloudtrain_site.database.sqlite3 import base

pytestmark = pytest.mark.django_db


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    kept: list[Any] = []
    monkeypatch.setattr(base, "_idle", kept)
    yield kept
    for _, connection, _ in kept:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sqlite3.connect(tmp_path / "own.sqlite3").execute("CREATE TABLE thing (id INTEGER PRIMARY KEY)").connection.close()
    return tmp_path / "own.sqlite3"


def opened(path: Path) -> base.DatabaseWrapper:
    settings = {
        **connections.settings["default"],
        "NAME": str(path),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA busy_timeout=0;"},
    }
    wrapper = base.DatabaseWrapper(settings, "default")
    wrapper.inc_thread_sharing()
    wrapper.connect()
    return wrapper


def execute(wrapper: base.DatabaseWrapper, statement: str) -> list[Any]:
    with wrapper.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_the_next_one_goes_on_with_it(path: Path, idle: list[Any]) -> None:
    first = opened(path)
    used = first.connection
    execute(first, "INSERT INTO thing VALUES (1)")
    with pytest.raises(IntegrityError):
        execute(first, "INSERT INTO thing VALUES (1)")  # the connection is as good as before
    first.close()
    second, third = opened(path), opened(path)
    assert second.connection is used
    assert third.connection is not used
    assert execute(second, "SELECT id FROM thing") == [(1,)]
    assert execute(second, "PRAGMA busy_timeout") == [(0,)]


def test_after_an_error_nobody_does(path: Path, idle: list[Any]) -> None:
    first, other = opened(path), opened(path)
    execute(other, "BEGIN IMMEDIATE")
    with pytest.raises(OperationalError):
        execute(first, "INSERT INTO thing VALUES (1)")
    first.close_if_unusable_or_obsolete()
    assert first.connection is None
    other.close()  # with its transaction, which ends with it
    assert idle == []
    execute(opened(path), "INSERT INTO thing VALUES (1)")


def test_a_cursor_of_the_connection_before_fails_no_later_request(path: Path, idle: list[Any]) -> None:
    wrapper = opened(path)
    kept = [wrapper.cursor()]  # as the traceback of an error does
    kept[0].execute("SELECT 1 UNION SELECT 2")
    with pytest.raises(OperationalError):
        execute(wrapper, "SELECT * FROM missing")
    wrapper.errors_occurred = True  # as Django notes of some errors
    wrapper.close()
    assert execute(wrapper, "SELECT 1") == [(1,)]
    wrapper.close()
    assert len(idle) == len(kept) == 1


def test_a_query_that_was_read_in_part_ends_with_its_request(path: Path, idle: list[Any]) -> None:
    first = opened(path)
    execute(first, "PRAGMA journal_mode = WAL")
    execute(first, "INSERT INTO thing VALUES (1), (2)")
    unread = first.cursor()
    unread.execute("SELECT id FROM thing")
    assert unread.fetchone() == (1,)
    first.close()
    second, other = opened(path), opened(path)
    assert second.is_reused
    execute(other, "INSERT INTO thing VALUES (3)")
    assert execute(second, "SELECT COUNT(*) FROM thing") == [(3,)]
    execute(second, "INSERT INTO thing VALUES (4)")
    with pytest.raises(ProgrammingError, match="closed cursor"):
        unread.fetchone()


def test_a_file_in_its_place_is_opened(path: Path, idle: list[Any]) -> None:
    opened(path).close()
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    fresh = opened(path)
    assert not fresh.is_reused
    assert idle == []


def test_none_comes_through_a_fork(path: Path, idle: list[Any]) -> None:
    opened(path).close()
    child = os.fork()
    if child == 0:
        os._exit(len(idle))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_few_are_kept(path: Path, idle: list[Any]) -> None:
    burst = [opened(path) for _ in range(base.MOST_IDLE + 2)]
    for wrapper in burst:
        wrapper.close()
    assert len(idle) == base.MOST_IDLE


def test_of_those_that_a_burst_left_few_stay(path: Path, idle: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    burst = [opened(path) for _ in range(base.LEAST_IDLE + 3)]
    for wrapper in burst:
        wrapper.close()
    unneeded = idle[0][1]
    monkeypatch.setattr(base, "UNNEEDED_SECONDS", 0.0)
    last = opened(path)
    used = last.connection
    last.close()
    assert [len(idle), idle[-1][1]] == [base.LEAST_IDLE, used]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        unneeded.execute("SELECT 1")
