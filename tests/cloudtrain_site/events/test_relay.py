"""One task reads for all streams: each gets its own channels' events, in order, and none is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import connection
from django_eventstream.models import Event as EventRow

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events import relay as event_relay
from cloudtrain_site.events.publish import ALL_CHANNELS, EVERYONE, Event, publish, rights_changed
from cloudtrain_site.events.relay import BACKLOG, BATCH, Subscription, current_relay, open_streams
from cloudtrain_site.events.store import StoredEvent, current_number
from tests.web import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)

ALICE, BOB = 1, 2
TABLE = EventRow._meta.db_table


@asynccontextmanager
async def subscribed(user_id: int, *channels: str) -> AsyncIterator[Subscription]:
    """A subscription to this loop's relay, from the current number on."""
    number = await asyncio.to_thread(apart, current_number)
    subscription = Subscription(user_id, frozenset(channels), number)
    relay = current_relay(number)
    relay.add(subscription)
    try:
        yield subscription
    finally:
        relay.remove(subscription)


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """Do `work` on a connection that is closed afterwards."""
    try:
        return work(*args)
    finally:
        connection.close()


async def tell(channel: str, *types: str) -> None:
    """Store one event of each type in one transaction, as another process would."""

    def store() -> None:
        with unit_of_work():
            for name in types:
                publish(Event(name, channel))

    await asyncio.to_thread(apart, store)


async def received(subscription: Subscription, count: int) -> list[StoredEvent]:
    """The next `count` events."""
    events: list[StoredEvent] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(events) < count:
            events += await subscription.wait(PATIENCE_SECONDS)
    return events


async def until(condition: Callable[[], object]) -> None:
    """Let the others work until `condition()` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


class TestDelivery:
    def test_each_gets_the_events_of_its_channels(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, "organization-1") as alice, subscribed(BOB, "organization-2") as bob:
                await tell("organization-1", "for-alice")
                await tell("organization-2", "for-bob")

                assert [event.number for event in await received(alice, 1)] == [1]
                assert [event.number for event in await received(bob, 1)] == [2]

        run(scene)

    def test_all_channels_get_everything(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, ALL_CHANNELS) as root:
                await tell("organization-1", "one")
                await tell(EVERYONE, "two")

                assert [event.number for event in await received(root, 2)] == [1, 2]

        run(scene)

    def test_a_burst_comes_whole_and_in_order(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as alice:
                await tell(EVERYONE, *["news"] * (3 * BATCH + 1))

                assert [event.number for event in await received(alice, 3 * BATCH + 1)] == [
                    *range(1, 3 * BATCH + 2),
                ]

        run(scene)

    def test_what_was_told_before_is_not_told_again(self) -> None:
        async def scene() -> None:
            await tell(EVERYONE, "old")
            async with subscribed(ALICE, EVERYONE) as alice:
                await tell(EVERYONE, "new")

                assert [event.number for event in await received(alice, 1)] == [2]

        run(scene)


class TestLife:
    def test_begins_with_the_first_stream_and_ends_with_the_last(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE), subscribed(BOB, EVERYONE):
                assert open_streams() == 2
            assert open_streams() == 0
            await until(lambda: len(asyncio.all_tasks()) == 1)
            await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("events")])

        run(scene)

    def test_begins_anew_after_it_ended(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE):
                pass
            await tell(EVERYONE, "nobody-there")
            async with subscribed(BOB, EVERYONE) as bob:
                await tell(EVERYONE, "for-bob")

                assert [event.number for event in await received(bob, 1)] == [2]

        run(scene)

    def test_a_failure_of_its_own_closes_the_streams(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as alice:
                await asyncio.to_thread(apart, lambda: EventRow.objects.create(channel="user-1", eid=1, data="no JSON"))
                await until(lambda: alice.ended)

        run(scene)

        assert "The event hub failed" in caplog.text


class TestSlowReader:
    def test_is_ended_when_its_backlog_is_full(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as slow, subscribed(BOB, EVERYONE) as quick:
                await tell(EVERYONE, *["news"] * (BACKLOG + 1))

                assert len(await received(quick, BACKLOG + 1)) == BACKLOG + 1
                assert slow.ended
                assert await slow.wait(PATIENCE_SECONDS) == []

        run(scene)


class TestRights:
    def test_a_change_ends_the_streams_of_that_user_only(self) -> None:
        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as alice, subscribed(BOB, ALL_CHANNELS) as bob:
                await asyncio.to_thread(apart, rights_changed, ALICE)
                await tell(EVERYONE, "after")

                assert [event.number for event in await received(bob, 1)] == [2]
                assert alice.ended
                assert not bob.ended

        run(scene)

    def test_a_change_before_the_stream_does_not_end_it(self) -> None:
        async def scene() -> None:
            async with subscribed(BOB, EVERYONE):
                await asyncio.to_thread(apart, rights_changed, ALICE)
                async with subscribed(ALICE, EVERYONE) as alice:
                    await tell(EVERYONE, "after")

                    assert [event.number for event in await received(alice, 1)] == [2]
                    assert not alice.ended

        run(scene)


def rename_table(old: str, new: str) -> None:
    """Hide the events' table, as if the database were down; or bring it back."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@asynccontextmanager
async def unreadable_events() -> AsyncIterator[None]:
    """While the block runs, nobody can read events."""
    await asyncio.to_thread(apart, rename_table, TABLE, "hidden_events")
    try:
        yield
    finally:
        await asyncio.to_thread(apart, rename_table, "hidden_events", TABLE)


class TestOutage:
    @pytest.mark.slow
    def test_is_told_once_and_loses_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "simpletuner.cloud.events")

        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as alice:
                async with unreadable_events():
                    await until(lambda: current_relay(0).failures >= 3)
                await tell(EVERYONE, "afterwards")

                assert [event.number for event in await received(alice, 1)] == [1]

        run(scene)

        assert [record.message for record in caplog.records] == [
            "Events can't be read; the streams stay open and wait",
            "Events can be read again",
        ]


def end_listeners() -> None:
    """Cut the relay's line to PostgreSQL; SQLite has none."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")


def is_listening(relay: event_relay.EventRelay) -> bool:
    """Whether the relay has the line to PostgreSQL that it should have; on SQLite it should have none."""
    return relay.listening == (connection.vendor == "postgresql")


class TestNotices:
    def test_postgresql_wakes_the_relay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_relay, "LISTENING_POLL_SECONDS", 60.0)

        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as alice:
                await until(lambda: is_listening(current_relay(0)))
                await tell(EVERYONE, "news")

                assert len(await received(alice, 1)) == 1

        run(scene)

    def test_a_cut_line_is_mended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_relay, "LISTENING_POLL_SECONDS", 60.0)

        async def scene() -> None:
            async with subscribed(ALICE, EVERYONE) as alice:
                relay = current_relay(0)
                await until(lambda: is_listening(relay))
                await asyncio.to_thread(apart, end_listeners)
                await tell(EVERYONE, "meanwhile")
                assert len(await received(alice, 1)) == 1

                await until(lambda: is_listening(relay))
                await tell(EVERYONE, "afterwards")
                assert len(await received(alice, 1)) == 1

        run(scene)
