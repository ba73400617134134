"""Writes that fail because the disk is full or the database is away: they are repeated until they can be made."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

from django.db import connection

from cloudtrain_site.database.failures import failure_of

logger = logging.getLogger("simpletuner.cloud.background")

T = TypeVar("T")

RETRY_SECONDS = 0.5
#: A pass has twenty answers at most to record, and claims nothing while nothing can be written.
MAX_WAITING = 200


class LateWrites:
    """The writes of this process that wait, in their order. They end with the process."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, write: Callable[[], object]) -> bool:
        """Have `write` repeated. False: as many wait already as may."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting.append(write)
            if self._thread is None:
                # Nobody waits for it at the process's end.
                self._thread = threading.Thread(target=self._run, name="late-writes", daemon=True)
                self._thread.start()
            return True

    def _run(self) -> None:
        while (write := self._next()) is not None:
            if not _is_settled(write):
                time.sleep(RETRY_SECONDS)
                continue
            with self._lock:
                self._waiting.popleft()

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            if self._waiting:
                return self._waiting[0]
            self._thread = None
        connection.close()
        return None


def _is_settled(write: Callable[[], object]) -> bool:
    """Write, and return whether that has to be repeated no more."""
    try:
        write()
    except Exception as error:
        if failure_of(error) is not None:
            connection.close()
            return False
        logger.exception("A late write failed")
    return True


_late_writes = LateWrites()


def write_now_or_later(write: Callable[[], T], until_then: T) -> T:
    """Return `write()`; when the database can't be written to, return `until_then`, and repeat it in the background.

    For what has no other place to be kept until then, such as a provider's answer. It must be safe to repeat at any
    later time, and is lost with the process: something else has to find out then. Other errors are raised, and so is
    this one when too much waits already, or within a transaction.
    """
    try:
        return write()
    except Exception as error:
        failure = None if connection.in_atomic_block else failure_of(error)
        if failure is None or not _late_writes.add(_in_this_context(write)):
            raise
        extra = {"code": failure.code, "error": str(error)}
        logger.warning("Can't be recorded now; trying again until it can: %s", failure.heading.lower(), extra=extra)
        return until_then


def _in_this_context(write: Callable[[], object]) -> Callable[[], object]:
    """Return `write` with the log fields and the correlation id of now, and a line that says when it was made."""
    context, began = copy_context(), time.monotonic()

    def run() -> None:
        write()
        logger.info("Recorded late", extra={"late_seconds": round(time.monotonic() - began, 1)})

    return lambda: context.run(run)
