"""A fair, cross-process queue for SQLite's write lock.

SQLite lets a waiting writer ask again after ever longer pauses, so the lock goes to a process that happens to ask just
then: a loop that writes without a pause in one process delays the requests of another by a second, and of 20 writers at
once one waits for more than ten seconds and fails. So writers queue here before they ask SQLite.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

#: As long as SQLite itself waits: after it the holder is stuck, and SQLite decides who may write.
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 0.0005


class WriteQueue:
    """The queue at one database file, for the threads of this process and for other processes.

    There are two file locks, which the system releases when their holder dies: `queue_lock` belongs to the first
    waiting writer, `lock` to the one that writes. A writer holds `queue_lock` while it waits for `lock`, so a writer
    that has just released `lock`, and wants it again, comes after the one that waits.
    """

    def __init__(self, database: Path) -> None:
        self._paths = [database.with_name(f"{database.name}-{name}") for name in ("line", "turn")]
        self._threads = threading.RLock()
        self._descriptors: list[int] = []
        self._is_held = False

    @contextmanager
    def acquire(self) -> Iterator[Callable[[], None]]:
        """Hold the lock during the block, after a wait of at most TIMEOUT_SECONDS for the writers before.

        It yields a function that releases the lock before the block ends. A nested call holds the same lock.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with ExitStack() as held:
            held.enter_context(self._threads)
            if not self._is_held:
                held.enter_context(self._hold_lock(deadline))
            yield held.close

    @contextmanager
    def _hold_lock(self, deadline: float) -> Iterator[None]:
        with ExitStack() as held:
            queue_lock, lock = self._open_files()
            with _locked(queue_lock, deadline):
                held.enter_context(_locked(lock, deadline))
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def _open_files(self) -> list[int]:
        if not self._descriptors:
            self._descriptors = [_open(path) for path in self._paths]
        return self._descriptors

    def reset_after_fork(self) -> None:
        """Drop the parent's descriptors: both would hold its locks at once, and the child beyond the parent's death."""
        self._threads = threading.RLock()
        self._is_held = False
        for descriptor in self._descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptors = []


def _open(path: Path) -> int:
    """Return a descriptor, or -1 if it can't be opened: a write to the database then fails with a better error."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1


@contextmanager
def _locked(descriptor: int, deadline: float) -> Iterator[None]:
    is_locked = descriptor >= 0 and _lock(descriptor, deadline)
    try:
        yield
    finally:
        if is_locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _lock(descriptor: int, deadline: float) -> bool:
    # Polled, since a blocking wait for a file lock has no deadline.
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(RETRY_SECONDS)
        else:
            return True


_queues: dict[Path, WriteQueue] = {}


def write_queue_at(database: Path) -> WriteQueue:
    """Return this process's one queue at that file."""
    queue = _queues.get(database)
    # Atomic, so that two threads which find none get the same queue.
    return _queues.setdefault(database, WriteQueue(database)) if queue is None else queue


def _reset_after_fork() -> None:
    for queue in _queues.values():
        queue.reset_after_fork()


os.register_at_fork(after_in_child=_reset_after_fork)
