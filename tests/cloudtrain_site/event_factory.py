"""Events for the tests of the stream: stored as everybody stores them."""

from __future__ import annotations

from typing import Any

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import EVERYONE, Event, publish
from cloudtrain_site.events.store import current_number
from tests.web import Message


def store_event(name: str, channel: str = EVERYONE, **data: Any) -> int:
    """Store one event; returns its number."""
    publish(Event(name, channel, data))
    return current_number()


def store_many(count: int, **data: Any) -> list[str]:
    """Store that many events at once; returns their numbers as a client sees them."""
    with unit_of_work():
        for _ in range(count):
            publish(Event("news", EVERYONE, data))
    newest = current_number()
    return [str(number) for number in range(newest - count + 1, newest + 1)]


def ids(messages: list[Message]) -> list[str | None]:
    return [message.id for message in messages]
