"""New events to the connected streams: one reader of the event table for each web process.

The library's stream keeps a thread and a database connection for every client. Here a thousand clients share
one asyncio task, which remembers a single number, and at most two threads for all database work. It asks for
rows above that number every quarter of a second, or as soon as PostgreSQL notifies it, so the events of every
process arrive without a broker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from django.db import connection, connections

from cloudtrain_site.events.publish import ALL_CHANNELS
from cloudtrain_site.events.store import StoredEvent, read_after

logger = logging.getLogger("simpletuner.cloud.events")

T = TypeVar("T")

POLL_SECONDS = 0.25
#: While PostgreSQL tells of news, the poll is there only for a notice that was lost.
LISTENING_POLL_SECONDS = 5.0
#: Each close of SQLite's last connection merges its log into the file, 17 ms; but while one is open, the files of
#: the requests' closed connections stay open too.
KEEP_CONNECTION_SECONDS = 5.0
#: The longest wait between two attempts while the database can't be read.
OUTAGE_SECONDS = 1.0
#: Several reads fit into one reader's backlog: a burst alone makes nobody a slow reader.
BATCH = 100
BACKLOG = 500


class Subscription:
    """One open stream: its user's channels, as they were at the event `joined_at`, and what waits to be sent."""

    __slots__ = ("_sleep", "_waiting", "channels", "ended", "joined_at", "user_id")

    def __init__(self, user_id: int, channels: frozenset[str], joined_at: int) -> None:
        self.user_id = user_id
        self.channels = channels
        self.joined_at = joined_at
        self.ended = False
        self._waiting: list[StoredEvent] = []
        #: A bare future: an asyncio.Event and a timeout object would be a kilobyte more for each idle client.
        self._sleep: asyncio.Future[None] | None = None

    def offer(self, event: StoredEvent) -> None:
        """Put `event` into the backlog if it is for this stream; a reader too slow for its backlog is ended."""
        if self.ended or not (event.channel in self.channels or ALL_CHANNELS in self.channels):
            return
        if len(self._waiting) >= BACKLOG:
            logger.info("Ended the event stream of a slow reader", extra={"user_id": self.user_id})
            self.end()
            return
        self._waiting.append(event)
        self._wake()

    def end(self) -> None:
        """Have the stream close: its client comes back, with the rights of then, and reads on from the database."""
        self.ended = True
        self._waiting.clear()
        self._wake()

    async def wait(self, seconds: float) -> list[StoredEvent]:
        """The events that came, as soon as there is one; nothing when the time is over, and from an ended one."""
        if not (self._waiting or self.ended):
            loop = asyncio.get_running_loop()
            self._sleep = loop.create_future()
            alarm = loop.call_later(seconds, self._wake)
            try:
                await self._sleep
            finally:
                alarm.cancel()
        events, self._waiting = self._waiting, []
        return events

    def _wake(self) -> None:
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)


class DatabaseThread:
    """A thread for database work, which keeps its connection for some seconds, unless that is from a pool."""

    def __init__(self, name: str, keep_seconds: float = 0.0) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._keep_seconds = 0.0 if connection.settings_dict["OPTIONS"].get("pool") else keep_seconds
        self._close_at = 0.0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Do `function` there, after what it has to do already."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, function, *args)

    def end(self) -> None:
        """End the thread and its connection, after what it still has to do; returns at once."""
        self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=False)

    def _run(self, function: Callable[..., T], *args: Any) -> T:
        is_sound = False
        try:
            result = function(*args)
            is_sound = True
            return result
        finally:
            if not is_sound or time.monotonic() >= self._close_at:
                connections.close_all()
                self._close_at = time.monotonic() + self._keep_seconds


class EventRelay:
    """Reads on from `position` while somebody is subscribed, and hands each event to those who may read it."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.listening = False
        self.failures = 0
        self.subscriptions: set[Subscription] = set()
        self._wake = asyncio.Event()
        self._tail = DatabaseThread("events-tail", KEEP_CONNECTION_SECONDS)
        self._resumer = DatabaseThread("events-resume")
        # A context of its own: the task outlives the request that started it, and must not log under its id.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    def add(self, subscription: Subscription) -> None:
        """Offer it every event above the present `position`, until it is removed."""
        self.subscriptions.add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Forget it; the relay ends with the last one."""
        self.subscriptions.discard(subscription)
        if not self.subscriptions:
            self._stop()

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function`, which reads the database for one stream, without a thread of the stream's own."""
        return await self._resumer.run(function, *args)

    def _stop(self) -> None:
        self._resign()
        self._task.cancel()
        self._tail.end()
        self._resumer.end()

    def _resign(self) -> None:
        """Let the next stream have a new relay; unless it has one, because this one failed before it ended."""
        loop = asyncio.get_running_loop()
        if _relays.get(loop) is self:
            del _relays[loop]

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                if connection.vendor == "postgresql":
                    group.create_task(self._listen())
                await self._follow()
        except Exception:
            logger.exception("The event hub failed; its streams are closed, and reopened by their clients")
            self._resign()
            for subscription in self.subscriptions:
                subscription.end()

    async def _follow(self) -> None:
        while True:
            try:
                events = await self._tail.run(read_after, self.position, BATCH)
            except Exception:
                await self._sit_out()
                continue
            self._note_success()
            self._hand_out(events)
            if len(events) < BATCH:
                await self._pause()

    def _hand_out(self, events: list[StoredEvent]) -> None:
        for event in events:
            self.position = event.number
            user_id = event.changed_rights_of
            for subscription in self.subscriptions:
                if user_id is None:
                    subscription.offer(event)
                elif subscription.user_id == user_id and subscription.joined_at < event.number:
                    subscription.end()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LISTENING_POLL_SECONDS if self.listening else POLL_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    async def _sit_out(self) -> None:
        """Wait a little longer after each failure. The streams stay open: nothing is lost, it is only late."""
        if not self.failures:
            logger.exception("Events can't be read; the streams stay open and wait")
        self.failures += 1
        await asyncio.sleep(min(OUTAGE_SECONDS, POLL_SECONDS * 2**self.failures))

    def _note_success(self) -> None:
        if self.failures:
            logger.info("Events can be read again", extra={"failed_attempts": self.failures})
            self.failures = 0

    async def _listen(self) -> None:
        """Have PostgreSQL wake the reader. While that fails, which is told once, the reader polls."""
        from cloudtrain_site.events.pg_listen import FAILURES, notices

        told = False
        while True:
            try:
                async for _ in notices():
                    self.listening = True
                    self._wake.set()
            except FAILURES:
                if self.listening or not told:
                    logger.warning("No notices of events from PostgreSQL; polling for them", exc_info=True)
                    told = True
            self.listening = False
            self._wake.set()
            await asyncio.sleep(OUTAGE_SECONDS)


_relays: dict[asyncio.AbstractEventLoop, EventRelay] = {}


def current_relay(position: int) -> EventRelay:
    """The relay of this event loop; a new one reads on from `position`. Add a stream to it at once."""
    loop = asyncio.get_running_loop()
    if loop not in _relays:
        _relays[loop] = EventRelay(position)
    return _relays[loop]


def open_streams() -> int:
    """How many streams this process has open."""
    return sum(len(relay.subscriptions) for relay in list(_relays.values()))
