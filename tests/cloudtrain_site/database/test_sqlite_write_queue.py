"""Writers in line: each gets its turn, and nobody who is quick comes twice before one who waits."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest
from django.db import connection, transaction

from cloudtrain_site.database import sqlite_write_queue
from cloudtrain_site.database.sqlite_write_queue import WriteQueue, write_queue_at
from cloudtrain_site.database.unit_of_work import unit_of_work
from tests.wait import wait_until


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


def is_locked(path: Path) -> bool:
    door = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(door)
    return False


def line_up(theirs: WriteQueue, database: Path, order: list[str]) -> threading.Thread:
    """Returns when the thread waits for its turn, of which it will tell in `order`."""

    def write() -> None:
        with theirs.turn():
            order.append("theirs")

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: is_locked(database.with_name("jobs.sqlite3-line")))
    return thread


def test_whoever_waits_comes_before_whoever_was_just_in(database: Path) -> None:
    # Two lines at one file are to each other as two processes are.
    mine, theirs = WriteQueue(database), WriteQueue(database)
    order: list[str] = []

    with mine.turn():
        other = line_up(theirs, database, order)
        order.append("mine")
    with mine.turn():
        order.append("mine again")
    other.join()
    assert order == ["mine", "theirs", "mine again"]


def test_a_turn_within_a_turn_neither_waits_for_those_in_line_nor_lets_them_in(database: Path) -> None:
    mine, theirs = WriteQueue(database), WriteQueue(database)
    order: list[str] = []

    with mine.turn():
        other = line_up(theirs, database, order)
        deadline = time.monotonic() + sqlite_write_queue.PATIENCE_SECONDS / 2
        with mine.turn():
            order.append("mine")
        assert time.monotonic() < deadline, "the one who waits for us was waited for"
        assert is_locked(database.with_name("jobs.sqlite3-turn"))
        order.append("mine still")
    other.join()
    assert order == ["mine", "mine still", "theirs"]


def test_a_turn_can_be_ended_before_its_block(database: Path) -> None:
    with WriteQueue(database).turn() as end:
        end()
        assert not is_locked(database.with_name("jobs.sqlite3-turn"))


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("gives_way", [True, False])
def test_what_waits_for_a_commit_is_in_nobodys_way_where_that_was_wished(*, gives_way: bool) -> None:
    turns: list[bool] = []
    turn = Path(f"{connection.settings_dict['NAME']}-turn")

    def write() -> None:
        turns.append(is_locked(turn))
        with unit_of_work():
            turns.append(is_locked(turn))

    with unit_of_work(gives_way=gives_way):
        transaction.on_commit(write)
    assert turns == [not gives_way, True]


def test_a_turn_that_never_ends_does_not_keep_the_others_for_ever(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_write_queue, "PATIENCE_SECONDS", 0.05)
    with WriteQueue(database).turn(), WriteQueue(database).turn():
        pass  # SQLite decides who of the two may write
    assert not is_locked(database.with_name("jobs.sqlite3-turn"))


def test_an_error_ends_the_turn(database: Path) -> None:
    line = WriteQueue(database)
    with pytest.raises(ValueError, match="broken"), line.turn():
        raise ValueError("broken")
    assert not is_locked(database.with_name("jobs.sqlite3-turn"))


def test_a_fork_stands_in_line_by_itself_and_gives_its_turn_up_when_it_dies(database: Path) -> None:
    line = write_queue_at(database)
    with line.turn():
        pid = os.fork()
        if pid == 0:
            # Its parent's turn is not its own: it gets in when that is over, and ends there.
            with line.turn():
                os._exit(0 if database.exists() else 1)
        wait_until(lambda: is_locked(database.with_name("jobs.sqlite3-line")))
        database.touch()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not is_locked(database.with_name("jobs.sqlite3-turn"))


def test_where_nothing_can_be_written_nobody_waits(tmp_path: Path) -> None:
    with WriteQueue(tmp_path / "missing" / "jobs.sqlite3").turn():
        pass
