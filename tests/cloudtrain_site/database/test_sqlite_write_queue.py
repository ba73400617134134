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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def line_up(theirs: WriteQueue, database: Path, order: list[str]) -> threading.Thread:
    """Return when the thread waits for the lock. It adds itself to `order` when it has it."""

    def write() -> None:
        with theirs.acquire():
            order.append("theirs")

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: is_locked(database.with_name("jobs.sqlite3-line")))
    return thread


def test_whoever_waits_comes_before_whoever_was_just_in(database: Path) -> None:
    # Two queues at one file exclude each other as two processes do.
    mine, theirs = WriteQueue(database), WriteQueue(database)
    order: list[str] = []

    with mine.acquire():
        other = line_up(theirs, database, order)
        order.append("mine")
    with mine.acquire():
        order.append("mine again")
    other.join()
    assert order == ["mine", "theirs", "mine again"]


def test_a_turn_within_a_turn_neither_waits_for_those_in_line_nor_lets_them_in(database: Path) -> None:
    mine, theirs = WriteQueue(database), WriteQueue(database)
    order: list[str] = []

    with mine.acquire():
        other = line_up(theirs, database, order)
        deadline = time.monotonic() + sqlite_write_queue.TIMEOUT_SECONDS / 2
        with mine.acquire():
            order.append("mine")
        assert time.monotonic() < deadline, "the one who waits for us was waited for"
        assert is_locked(database.with_name("jobs.sqlite3-turn"))
        order.append("mine still")
    other.join()
    assert order == ["mine", "mine still", "theirs"]


def test_a_turn_can_be_ended_before_its_block(database: Path) -> None:
    with WriteQueue(database).acquire() as end:
        end()
        assert not is_locked(database.with_name("jobs.sqlite3-turn"))


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("release_at_commit", [True, False])
def test_what_waits_for_a_commit_is_in_nobodys_way_where_that_was_wished(*, release_at_commit: bool) -> None:
    turns: list[bool] = []
    turn = Path(f"{connection.settings_dict['NAME']}-turn")

    def write() -> None:
        turns.append(is_locked(turn))
        with unit_of_work():
            turns.append(is_locked(turn))

    with unit_of_work(release_at_commit=release_at_commit):
        transaction.on_commit(write)
    assert turns == [not release_at_commit, True]


def test_a_turn_that_never_ends_does_not_keep_the_others_for_ever(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_write_queue, "TIMEOUT_SECONDS", 0.05)
    with WriteQueue(database).acquire(), WriteQueue(database).acquire():
        pass  # SQLite decides who of the two may write
    assert not is_locked(database.with_name("jobs.sqlite3-turn"))


def test_an_error_ends_the_turn(database: Path) -> None:
    queue = WriteQueue(database)
    with pytest.raises(ValueError, match="broken"), queue.acquire():
        raise ValueError("broken")
    assert not is_locked(database.with_name("jobs.sqlite3-turn"))


def test_a_fork_stands_in_line_by_itself_and_gives_its_turn_up_when_it_dies(database: Path) -> None:
    queue = write_queue_at(database)
    with queue.acquire():
        pid = os.fork()
        if pid == 0:
            # It doesn't hold its parent's lock: it gets the lock after it, and ends there.
            with queue.acquire():
                os._exit(0 if database.exists() else 1)
        wait_until(lambda: is_locked(database.with_name("jobs.sqlite3-line")))
        database.touch()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not is_locked(database.with_name("jobs.sqlite3-turn"))


def test_where_nothing_can_be_written_nobody_waits(tmp_path: Path) -> None:
    with WriteQueue(tmp_path / "missing" / "jobs.sqlite3").acquire():
        pass
