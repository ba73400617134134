"""The kept events: read by their number, and trimmed by their age."""

from __future__ import annotations

import json
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from django.db.models import Max, Min, QuerySet
from django_eventstream.models import Event, EventCounter

from cloudtrain_site.database.batches import FIRST_BATCH, next_size
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.events.publish import ALL_CHANNELS, COUNTER, RIGHTS_CHANGED, USER_CHANNEL

KEEP = timedelta(hours=24)
# Of each page and each stream.
_CURRENT = Prepared(lambda name: EventCounter.objects.filter(name=name).values_list("value", flat=True))


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was written: its number, its channel, and the JSON text that says what happened."""

    number: int
    channel: str
    data: str

    @property
    def changed_rights_of(self) -> int | None:
        """The user whose streams it ends; None for news, which is all that a browser ever gets."""
        if not self.channel.startswith(USER_CHANNEL):
            return None
        event = json.loads(self.data)
        return int(event["user_id"]) if event["type"] == RIGHTS_CHANGED else None

    def concerns(self, channels: AbstractSet[str]) -> bool:
        """Whether a reader of `channels` may get it."""
        return self.channel in channels or (ALL_CHANNELS in channels and not self.channel.startswith(USER_CHANNEL))


def read_after(number: int, limit: int, channels: AbstractSet[str] | None = None) -> list[StoredEvent]:
    """The first `limit` events after `number`, in order: all there are, or what a reader of `channels` may get."""
    events = _numbered().filter(eid__gt=number)
    if channels is not None and ALL_CHANNELS in channels:
        events = events.exclude(channel__startswith=USER_CHANNEL)
    elif channels is not None:
        events = events.filter(channel__in=channels)
    return _stored(events.order_by("eid")[:limit])


def rights_changed_after(number: int, user_id: int) -> bool:
    """Whether this user's rights have changed since the event of that number."""
    changes = _stored(_numbered().filter(eid__gt=number, channel=f"{USER_CHANNEL}{user_id}"))
    return any(event.changed_rights_of == user_id for event in changes)


def current_number() -> int:
    """The number of the newest event; 0 before the first."""
    return _CURRENT.first(COUNTER) or 0


def first_kept() -> int:
    """The number of the oldest event that is kept; the next event's when none is."""
    # The counter is read first: the very first event, stored between the two reads, must not look trimmed.
    following = current_number() + 1
    oldest = _numbered().aggregate(number=Min("eid"))["number"]
    return following if oldest is None else int(oldest)


def trim(now: datetime, keep: timedelta = KEEP, until: float = inf) -> int:
    """Delete the events older than `keep`, but never the newest, until the monotonic time `until`; returns how many.

    Goes by number, not row by row: what stays is unbroken, even if a machine's clock was wrong for a while.
    """
    keep_from = _oldest_since(now - keep)
    deleted, size = 0, FIRST_BATCH
    while (first := first_kept()) < keep_from and time.monotonic() < until:
        started = time.monotonic()
        deleted += Event.objects.filter(eid__lt=min(first + size, keep_from)).delete()[0]
        size = next_size(size, time.monotonic() - started)
    return deleted


def _oldest_since(moment: datetime) -> int:
    """The lowest number given out since `moment`; the newest of all when that was earlier; 0 without any."""
    oldest = _numbered().filter(created__gte=moment).aggregate(number=Min("eid"))["number"]
    return int(oldest or _numbered().aggregate(number=Max("eid"))["number"] or 0)


def _numbered() -> QuerySet[Event]:
    """All but the placeholders, numbered 0, that the library would write into its table."""
    events: QuerySet[Event] = Event.objects.filter(eid__gt=0)
    return events


def _stored(events: QuerySet[Event]) -> list[StoredEvent]:
    return [StoredEvent(*row) for row in events.values_list("eid", "channel", "data")]
