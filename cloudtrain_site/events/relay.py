"""New events to the connected streams: one reader of the event table for each web process.

It takes the place of the library's Redis listener. One asyncio task, which remembers a single number, asks for rows
above that number every quarter of a second, or as soon as PostgreSQL notifies it, so the events of every process
arrive without a broker, and are queued in the order of their numbers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from django.db import Error, connection, connections

from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.events.publish import ALL_CHANNELS
from cloudtrain_site.events.readers import RECENT_EVENTS, RecentEvents, StreamReader, library_event, open_readers
from cloudtrain_site.events.store import StoredEvent, read_after
from cloudtrain_site.limits import streams

logger = logging.getLogger("simpletuner.cloud.events")

T = TypeVar("T")

POLL_SECONDS = 0.25
#: While PostgreSQL tells of news, the poll is there only for a notice that was lost.
LISTENING_POLL_SECONDS = 5.0
#: A thread gives its connection to SQLite back after this time: the next one notices when another file took its place.
KEEP_CONNECTION_SECONDS = 5.0
#: The longest wait between two attempts while the database can't be read.
OUTAGE_SECONDS = 1.0
BATCH = 100
#: When another process takes the place of this one, this many streams end at each step; more, where otherwise there
#: would be more steps than MOST_STEPS.
ENDED_AT_ONCE = 25
MOST_STEPS = 200
_NOBODY: frozenset[StreamReader] = frozenset()


class DatabaseThread:
    """A thread for database work, which keeps its connection for some seconds, unless that is from a pool."""

    def __init__(self, name: str, keep_seconds: float) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._keep_seconds = 0.0 if connection.settings_dict["OPTIONS"].get("pool") else keep_seconds
        self._close_at = 0.0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Do `function` there, after what it has to do already."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, function, *args)

    def end(self, *last: Callable[[], None]) -> None:
        """End the thread and its connection, after what it still has to do, and `last`; returns at once."""
        for function in last:
            self._executor.submit(function)
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
    """Reads on from `position` while a stream is open, and has each event queued for those who may read it."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._recent = RecentEvents(position)
        self.listening = False
        self.failures = 0
        self.readers: set[StreamReader] = set()
        # An event costs what its own readers do, however many others there are.
        self._by_channel: defaultdict[str, set[StreamReader]] = defaultdict(set)
        self._wake = asyncio.Event()
        # Not the thread in which streams read the table: a thousand that come back would delay every event.
        self._tail = DatabaseThread("events-tail", KEEP_CONNECTION_SECONDS)
        # Nor the one that reads the new events: it writes, and a writer may have to wait.
        self._counter = DatabaseThread("stream-counts", 0.0)
        self._name = streams.new_name()
        # A context of its own: the task outlives the request that started it, and must not log under its id.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    def add(self, reader: StreamReader) -> None:
        """Offer it every event above the present `position`, until it is removed."""
        self.readers.add(reader)
        for channel in reader.channels:
            self._by_channel[channel].add(reader)
        reader.recent = self._recent
        open_readers[reader.name] = reader

    def remove(self, reader: StreamReader) -> None:
        """Forget it; the relay ends with the last one."""
        self.readers.discard(reader)
        for channel in reader.channels:
            self._by_channel[channel].discard(reader)
            if not self._by_channel[channel]:
                del self._by_channel[channel]
        open_readers.pop(reader.name, None)
        if not self.readers:
            self._stop()

    def _stop(self) -> None:
        self._resign()
        self._task.cancel()
        self._tail.end()
        self._counter.end(partial(streams.remove_counts, self._name))

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
                group.create_task(self._publish_counts())
                group.create_task(self._watch_sign_in())
                await self._follow()
        except Exception:
            logger.exception("The event hub failed; its streams are closed, and reopened by their clients")
            self._resign()
            for reader in self.readers:
                reader.end()

    async def _recall(self) -> None:
        """Remember what came before. When this process takes the place of another, thousands of clients ask for it."""
        with suppress(Exception):  # of an outage the next read tells
            self._recent.begin_with(await self._tail.run(read_after, self.position - RECENT_EVENTS, RECENT_EVENTS))

    async def _follow(self) -> None:
        await self._recall()
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
            self._recent.append(event)
            user_id = event.changed_rights_of
            if user_id is None:
                self._offer(event)
            else:
                self._end_streams_of(user_id, event.number)

    def _offer(self, event: StoredEvent) -> None:
        for_library = library_event(event)  # once for all of them
        for reader in self._by_channel.get(event.channel, _NOBODY) | self._by_channel.get(ALL_CHANNELS, _NOBODY):
            reader.offer(event, for_library)

    def _end_streams_of(self, user_id: int, number: int) -> None:
        for reader in self.readers:
            if reader.user_id == user_id and reader.joined_at < number:
                reader.end()

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

    async def _publish_counts(self) -> None:
        """Publish to the other processes how many streams each user has here: soon after a change, and now and then."""
        published, published_at = None, 0.0
        while True:
            now, counts = time.monotonic(), streams.open_here()
            if counts != published or now >= published_at + streams.REPEAT_SECONDS:
                with suppress(Error):  # published again a second later
                    await self._counter.run(streams.publish_counts, self._name, counts)
                    published, published_at = counts, now
            await asyncio.sleep(streams.CHECK_SECONDS)

    async def _watch_sign_in(self) -> None:
        """End the streams that were opened before the file changed how people sign in."""
        while True:
            await asyncio.sleep(streams.CHECK_SECONDS)
            current = config_in_force().sign_in
            for reader in self.readers:
                if reader.sign_in not in (None, current):
                    reader.end()

    async def _listen(self) -> None:
        """Have PostgreSQL wake the reader. While that fails, which is told once, the reader polls."""
        from cloudtrain_site.events.pg_listen import FAILURES, notices

        warned = False
        while True:
            try:
                async for _ in notices():
                    self.listening = True
                    self._wake.set()
            except FAILURES:
                if self.listening or not warned:
                    logger.warning("No notices of events from PostgreSQL; polling for them", exc_info=True)
                    warned = True
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
    return sum(len(relay.readers) for relay in list(_relays.values()))


def ending_streams() -> Iterator[None]:
    """End this process's streams, a part at each step, so that their clients don't all come back at once."""
    readers = [reader for relay in _relays.values() for reader in relay.readers]
    size = max(ENDED_AT_ONCE, len(readers) // MOST_STEPS)
    for first in range(0, len(readers), size):
        for reader in readers[first : first + size]:
            reader.end()
        yield
