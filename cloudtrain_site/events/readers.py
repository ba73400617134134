"""The open streams as django-eventstream sees them: what may be queued for each, and what each reads from the table.

The library's `stream()` reads the table, and then sends what is queued for its listener. Nothing comes twice and
nothing is lost because of four things:

* To the library each stream is one channel of its own, so its position is one number.
* The relay queues in the order of the numbers, and has the reader before the table is read.
* When something was queued while the library read, it empties the queue and reads again, from the number of before.
  We go on from `read_to`, which says what it got already.
* What the table gave is not queued any more.

The relay keeps what it has just read: a thousand clients that come back soon are answered without the table.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, islice
from operator import attrgetter

from asgiref.sync import sync_to_async
from django.db import connections
from django_eventstream import eventstream, views
from django_eventstream.event import Event
from django_eventstream.eventrequest import EventRequest
from django_eventstream.eventresponse import EventResponse
from django_eventstream.storage import EventDoesNotExist, StorageBase
from django_eventstream.views import Listener, get_listener_manager

from cloudtrain_site.conf.sign_in import SignIn
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import append
from cloudtrain_site.events.store import StoredEvent, current_number, first_kept, read_after, rights_changed_after

#: For a client that named a number which was never given out.
UNKNOWN = -1
#: What waits for one slow client, in characters. The library counts events alone, and those have no limit of length.
QUEUE_CHARACTERS = 256 * 1024
#: With the library's 10, each burst has every stream read the table, one after the other.
views.MAX_PENDING = 500
#: How many of the newest events are kept, and of what length: a client that comes back within seconds reads no table.
RECENT_EVENTS, RECENT_CHARACTERS = 1000, 256 * 1024

#: By the name of their channel.
open_readers: dict[str, StreamReader] = {}
_numbers = count(1)


class LoopListener(Listener):  # type: ignore[misc]
    """Gets its events in its own event loop, where the library's call from another thread is a needless system call."""

    def wake_threadsafe(self) -> None:
        self.aevent.set()


class RecentEvents:
    """The newest events of all channels, in their order, without a gap: those after the number `after`."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._events: deque[StoredEvent] = deque()
        self._characters = 0

    def begin_with(self, events: Collection[StoredEvent]) -> None:
        """Keep those up to the number `after` too, if they lead to it without a gap. To be called before `append`."""
        earlier = [event for event in events if event.number <= self.after]
        if earlier and earlier[0].number == self.after - len(earlier) + 1:
            self.after = earlier[0].number - 1
            for event in earlier:
                self.append(event)

    def append(self, event: StoredEvent) -> None:
        """Keep it, and of the others what fits."""
        self._events.append(event)
        self._characters += len(event.data)
        while len(self._events) > RECENT_EVENTS or self._characters > RECENT_CHARACTERS:
            oldest = self._events.popleft()
            self._characters -= len(oldest.data)
            self.after = oldest.number

    def since(self, number: int) -> list[StoredEvent]:
        """Return those after `number`, which must not be below `after`."""
        first = bisect_right(self._events, number, key=attrgetter("number"))
        return list(islice(self._events, first, None))


@dataclass(slots=True, eq=False, weakref_slot=True)
class StreamReader:
    """An open stream: whose it is, what they may read, and how far the table was read for it."""

    user_id: int
    channels: frozenset[str]
    #: The newest number when the rights were read: a later change of them ends the stream, an earlier one is in them.
    joined_at: int
    #: The number up to which the client has everything, or has been told to reload; `UNKNOWN` until then.
    read_to: int
    #: When the key that opened it expires; None: it never does, or a browser's session opened the stream.
    ends_at: datetime | None = None
    #: How people signed in when the rights were read; None: that is not looked at.
    sign_in: SignIn | None = None
    name: str = field(default_factory=lambda: f"stream-{next(_numbers)}")
    ended: bool = False
    lifetime: asyncio.Timeout | None = None
    #: The relay's, from the moment that it queues events for this reader.
    recent: RecentEvents | None = None
    listener: LoopListener = field(default_factory=LoopListener)
    _queued: int = 0

    def for_library(self) -> tuple[EventRequest, LoopListener]:
        """The arguments of its `stream()`."""
        request = EventRequest()
        request.is_next = False  # the library sets it from an HTTP request alone, and reads it in any case
        request.channels = self.listener.channels = {self.name}
        request.channel_last_ids = {self.name: str(self.read_to)}
        return request, self.listener

    def offer(self, event: StoredEvent, for_library: Event) -> None:
        """Queue an event of one of its channels, in the library's shape, unless the table gave it.

        What doesn't fit into the queue is read from the table when the queue is sent.
        """
        if self.ended or event.number <= self.read_to:
            return
        waits = bool(self.listener.channel_items)
        # Counted on when it is full: a small event must not take the place of a large one before it.
        self._queued = self._queued * waits + len(for_library.data)
        if waits and self._queued > QUEUE_CHARACTERS:
            self.listener.overflow = True
        else:
            get_listener_manager().add_to_queues(self.name, for_library)

    def needs_no_table(self, after: int) -> bool:
        """Whether the relay remembers all that happened after that number, and after the rights were read."""
        return self.recent is not None and self.recent.after <= min(max(after, self.read_to), self.joined_at)

    def read_recent(self, after: int, limit: int) -> list[Event]:
        """Do as `read` does, from what the relay remembers. To be called in its event loop."""
        assert self.recent is not None
        if any(event.changed_rights_of == self.user_id for event in self.recent.since(self.joined_at)):
            self.ended = True
            return []
        missed = self.recent.since(max(after, self.read_to))
        return self._taken([event for event in missed if event.concerns(self.channels)][:limit], limit)

    def read(self, after: int, limit: int) -> list[Event]:
        """The first `limit` events after that number; the library sends all but the last of as many as that.

        Nothing, with `ended` set, when the rights have changed. Raises EventDoesNotExist when the events after that
        number are not known or no longer kept.
        """
        after = max(after, self.read_to)
        newest = current_number()
        found = read_after(after, limit, self.channels)
        # Both are asked after the rows were read: a change in between would go unnoticed the other way round.
        if rights_changed_after(self.joined_at, self.user_id):
            self.ended = True
            return []
        if first_kept() > after + 1:
            # The client reloads what it shows: it needs no event up to here, even if the relay is past it.
            self.read_to = newest
            raise EventDoesNotExist(f"The events after {after} are not kept", newest)
        return self._taken(found, limit)

    def _taken(self, found: list[StoredEvent], limit: int) -> list[Event]:
        """Note what the library will send of them."""
        if found:
            self.read_to = found[-1 if len(found) < limit else -2].number
        return [library_event(event) for event in found]

    def end(self) -> None:
        """Have the stream close: its client comes back, with the rights of then, and reads on from the table."""
        self.ended = True
        if self.lifetime is not None and not self.lifetime.expired():
            self.lifetime.reschedule(0)

    def rewritten(self, text: str, position: int) -> str:
        """The library's `text` with plain numbers for ids, and messages without a name.

        A keep-alive tells an idle client the relay's `position`, so that it need not read a day's foreign events later.
        """
        if text.startswith("event: keep-alive"):
            # What waits has a lower number, and is not sent.
            is_behind = self.listener.channel_items or position <= self.read_to
            return ": keep-alive\n\n" if is_behind else f": keep-alive\nid: {position}\n\n"
        # Each pattern contains the end of a line, which an event's JSON doesn't.
        return (
            text.replace("event: stream-open\ndata:\n\n", "")
            .replace(f"event: message\nid: {self.name}:", "id: ")
            .replace(f"\nid: {self.name}:", "\nid: ")
            .replace(f'\ndata: {{"channels": ["{self.name}"]}}\n', '\ndata: {"type": "stream-reset"}\n')
        )


def last_seen(text: str, newest: int) -> int:
    """The number that a client has already, as it says; `newest` for "", `UNKNOWN` for one that we never gave out."""
    if not text:
        return newest
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        return UNKNOWN
    return int(text) if int(text) <= newest else UNKNOWN


def library_event(event: StoredEvent) -> Event:
    """The event as the library takes it; its JSON object also says its number."""
    return Event(event.channel, "message", f'{{"id": {event.number}, {event.data[1:]}', id=event.number)


class EventStorage(StorageBase):  # type: ignore[misc]
    """The library's table, numbered by the one counter, and read for one stream at a time."""

    def append_event(self, channel: str, event_type: str, data: str) -> Event:
        """Store what the library's `send_event` is given; it reaches the streams after the commit.

        Holds the counter until then, so it belongs at the end of a transaction. Raises ValueError for what is not a
        message whose data is an object with a `type`.
        """
        content = json.loads(data)
        if event_type != "message" or not isinstance(content, dict) or "type" not in content:
            raise ValueError("An event is a `message`, and its data an object with a `type`.")
        with unit_of_work():
            number = append([(channel, data)])
        return Event(channel, event_type, data, id=number)

    def get_events(self, channel: str, last_id: int, limit: int = 100) -> list[Event]:
        """The events for the stream of that name. The table is read in a thread of all streams' own."""
        reader = open_readers[channel]
        if reader.needs_no_table(last_id):
            return reader.read_recent(last_id, limit)
        try:
            return reader.read(last_id, limit)
        finally:
            connections.close_all()

    def get_current_id(self, channel: str) -> int:
        """The number of the newest event of all channels."""
        return current_number()


_get_events_in_thread = sync_to_async(eventstream.get_events)


async def _get_events(request: EventRequest) -> EventResponse:
    """Have the library ask the storage: in the event loop where that needs no table, and otherwise in a thread."""
    [(name, last_id)] = request.channel_last_ids.items()
    reader = open_readers.get(name)
    if reader is not None and reader.needs_no_table(int(last_id)):
        return eventstream.get_events(request)
    return await _get_events_in_thread(request)


def _choose(get_events: Callable[[EventRequest], EventResponse]) -> Callable[[EventRequest], Awaitable[EventResponse]]:
    return _get_events


views.sync_to_async = _choose
