"""django-q2's guard of its workers, with two processes fewer than by itself.

The library has one process that only waits for signals, one that fetches tasks and one that saves results. Here the
guard takes the signals, and one process fetches in a thread and saves: 10 MB each on a machine that does nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from multiprocessing import Event
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event as EventClass
from types import FrameType
from typing import Any
from uuid import uuid4

from django_q.brokers import Broker
from django_q.brokers.orm import ORM
from django_q.cluster import Sentinel
from django_q.conf import Conf
from django_q.monitor import monitor
from django_q.pusher import pusher

from cloudtrain_site.database.changes import Changes


class Flag:
    """As much of an Event as the guard needs, which a signal handler may set: with a real one that can deadlock."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self._is_set


class Guard(Sentinel):  # type: ignore[misc]  # the library has no types
    """To be started in the main thread of a process without threads: `start` returns after SIGTERM."""

    def __init__(self) -> None:
        super().__init__(Flag(), Flag(), uuid4(), start=False)
        self._carrier: BaseProcess | None = None
        self._has_fetched = Event()
        signal.signal(signal.SIGTERM, self._request_stop)

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop_event.set()

    def spawn_process(self, target: Any, *args: Any) -> BaseProcess:
        """Fork as the library does, but without our handler: it ends a worker over its time by SIGTERM."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            process: BaseProcess = super().spawn_process(target, *args)
        finally:
            signal.signal(signal.SIGTERM, self._request_stop)
        return process

    def spawn_monitor(self) -> BaseProcess:
        """Return the process that fetches and saves. When it dies both its parts are missed, and this one first."""
        queues = (self.task_queue, self.result_queue)
        self._carrier = self.spawn_process(_carry, *queues, self.event_out, self._has_fetched, self.broker)
        return self._carrier

    def spawn_pusher(self) -> Fetching:
        assert self._carrier is not None
        return Fetching(self._carrier, self._has_fetched)


class Fetching:
    """The part of that process that fetches tasks, as the guard sees it."""

    def __init__(self, process: BaseProcess, has_ended: EventClass) -> None:
        self.process = process
        self.pid, self.name = process.pid, process.name
        self._has_ended = has_ended

    def is_alive(self) -> bool:
        return self.process.is_alive() and not self._has_ended.is_set()


class QuietBroker(ORM):  # type: ignore[misc]  # the library has no types
    """The library's broker in the database, which looks for tasks five times a second, if there may be any."""

    def __init__(self, list_key: str) -> None:
        super().__init__(list_key)
        # A task whose worker was lost waits for its time alone.
        self._changes = Changes(most_seconds=2.0)
        self._may_be_more = False

    def dequeue(self) -> list[tuple[int, str]] | None:
        self.get_connection()  # replaces one that is broken
        if not (self._changes.found() or self._may_be_more):
            time.sleep(Conf.POLL)
            return None
        found: list[tuple[int, str]] | None = super().dequeue()
        self._may_be_more = bool(found)  # our own writes are no change
        return found


def _carry(tasks: Queue[Any], results: Queue[Any], stop: EventClass, has_ended: EventClass, broker: Broker) -> None:
    source = QuietBroker(broker.list_key) if isinstance(broker, ORM) else broker

    def fetch() -> None:
        # It returns after an error of the broker, for the guard to start it anew.
        while not stop.is_set():
            with suppress(Exception):
                pusher(tasks, stop, source)
        has_ended.set()

    threading.Thread(target=fetch, name="fetch", daemon=True).start()
    monitor(results, broker)
