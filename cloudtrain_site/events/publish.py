"""Events for the browsers: written in the transaction of the change, told to the streams after it.

The rows are django-eventstream's, numbered by one counter for all channels. The number is taken under the
counter's row lock, which is held until the commit: numbers become visible in their own order, so a reader
who remembers one number misses nothing. `unit_of_work` takes that lock last of all, and so for the shortest
time; nobody who holds it waits for another row, so it can't be part of a deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.utils import timezone
from django_eventstream.models import Event as EventRow
from django_eventstream.models import EventCounter

from cloudtrain_site.database.fast_sql import array, executed, insert
from cloudtrain_site.database.unit_of_work import at_end_of_unit

COUNTER = "cloudtrain"
EVERYONE = "everyone"
ALL_CHANNELS = "*"
NOTIFY_CHANNEL = "cloudtrain_events"
#: One channel a user, for what concerns that user's streams alone; no browser reads it.
USER_CHANNEL = "user-"
#: The channel of no user, which only the doctor's stream reads.
DOCTORS_CHANNEL = f"{USER_CHANNEL}0"
RIGHTS_CHANGED = "rights_changed"
#: One channel a user, which that user's browser reads.
PERSON_CHANNEL = "person-"

_encode = DjangoJSONEncoder().encode

COUNT = """
UPDATE django_eventstream_eventcounter SET value = value + %s, updated = %s WHERE name = %s RETURNING value
"""
#: The counter is held for a round trip less than by two statements. PostgreSQL sends the notice at the commit.
COUNT_AND_STORE = f"""
WITH counter AS ({COUNT}, pg_notify('{NOTIFY_CHANNEL}', ''))
INSERT INTO django_eventstream_event (channel, type, data, eid, created)
SELECT texts.channel, 'message', texts.data, counter.value - %s + texts.place, %s
FROM counter, unnest(%s::text[], %s::text[]) WITH ORDINALITY AS texts (channel, data, place)
RETURNING eid
"""  # noqa: S608


@dataclass(frozen=True)
class Event:
    """One event to be stored: its `type`, the channel whose readers get it, and what it says."""

    type: str
    channel: str
    data: dict[str, Any] = field(default_factory=dict)


def publish(event: Event) -> None:
    """Store `news` with the change that it tells of: in the open unit of work, or in one of its own."""
    at_end_of_unit(event, _store)


def person_channel(user_id: int | None) -> str:
    return f"{PERSON_CHANNEL}{user_id}"


def rights_changed(user_id: int) -> None:
    """End this user's open streams, in every process, after the commit: they are reopened with the rights of then."""
    publish(Event(RIGHTS_CHANGED, f"{USER_CHANNEL}{user_id}", {"user_id": user_id}))


def _store(events: list[Event]) -> None:
    append([(event.channel, _encode({"type": event.type, **event.data})) for event in events])


def append(texts: list[tuple[str, str]]) -> int:
    """Store an event for each channel and JSON text; returns the last number.

    It holds the counter until the commit, which tells the relays.
    """
    last = _append(texts)
    if last is None:
        EventCounter.objects.get_or_create(name=COUNTER)
        last = _append(texts)
    assert last is not None
    return last


def _append(texts: list[tuple[str, str]]) -> int | None:
    """Return the last number; None: there is no counter yet, and nothing was stored. Every change waits for this."""
    now, count = timezone.now(), len(texts)
    counted = [count, connection.ops.adapt_datetimefield_value(now), COUNTER]
    if connection.vendor == "postgresql":
        columns = [array(list(column)) for column in zip(*texts, strict=True)]
        stored = executed(connection, COUNT_AND_STORE, [*counted, count, now, *columns])
        return max((number for (number,) in stored.fetchall()), default=None)
    found = executed(connection, COUNT, counted).fetchall()
    if not found:
        return None
    last: int = found[0][0]
    insert(
        [
            EventRow(channel=channel, type="message", eid=number, data=text, created=now)
            for number, (channel, text) in enumerate(texts, start=last - count + 1)
        ]
    )
    return last
