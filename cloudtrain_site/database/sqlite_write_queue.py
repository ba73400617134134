"""Whoever wants SQLite's one writer's lock next gets it next, also among processes.

SQLite has those who wait look again after ever longer pauses, so that whoever comes just then goes first: a loop that
writes without a rest in one process holds up the requests of another for a second, and of 20 at once one waits for more
than ten seconds and is turned away. So they stand in line before they ask SQLite.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

#: As long as SQLite itself waits: after it, whoever stands in front of the line is stuck, and SQLite has the last word.
PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.0005


class WriteQueue:
    """The line at one database file, for the threads of this process and for other processes.

    There are two doors, each a lock that the system lets go when its holder dies. The one who waits for the second
    holds the first: so the one who has just been in, and wants in again, comes after the one who waits.
    """

    def __init__(self, database: Path) -> None:
        self._paths = [database.with_name(f"{database.name}-{name}") for name in ("line", "turn")]
        self._threads = threading.RLock()
        self._doors: list[int] = []
        self._is_in = False

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait until nobody else is between this and the block's end; at most for PATIENCE_SECONDS.

        What it gives ends the turn before that, when it is called. A turn within a turn is a part of it.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        with ExitStack() as held:
            held.enter_context(self._threads)
            if not self._is_in:
                held.enter_context(self._let_in(deadline))
            yield held.close

    @contextmanager
    def _let_in(self, deadline: float) -> Iterator[None]:
        with ExitStack() as held:
            first, second = self._opened()
            with _locked(first, deadline):
                held.enter_context(_locked(second, deadline))
            self._is_in = True
            try:
                yield
            finally:
                self._is_in = False

    def _opened(self) -> list[int]:
        if not self._doors:
            self._doors = [_open(path) for path in self._paths]
        return self._doors

    def start_anew(self) -> None:
        """In a fork: its parent's doors would let both in at once, and stay shut if the parent died behind them."""
        self._threads = threading.RLock()
        self._is_in = False
        for door in self._doors:
            if door >= 0:
                os.close(door)
        self._doors = []


def _open(path: Path) -> int:
    """-1 where it can't be opened: the database can't be written to either then, and says so better."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1


@contextmanager
def _locked(door: int, deadline: float) -> Iterator[None]:
    got = door >= 0 and _lock(door, deadline)
    try:
        yield
    finally:
        if got:
            fcntl.flock(door, fcntl.LOCK_UN)


def _lock(door: int, deadline: float) -> bool:
    # Looked at again and again, since a lock that is waited for in the system has no deadline.
    while True:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        else:
            return True


_lines: dict[Path, WriteQueue] = {}


def write_queue_at(database: Path) -> WriteQueue:
    """The one line of this process at that file."""
    line = _lines.get(database)
    # Only one of two threads that find none makes the line of both.
    return _lines.setdefault(database, WriteQueue(database)) if line is None else line


def _start_anew() -> None:
    for line in _lines.values():
        line.start_anew()


os.register_at_fork(after_in_child=_start_anew)
