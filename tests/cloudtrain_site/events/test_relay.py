"""One task reads for all streams: each gets its own channels' events, in order, and none is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from django.db import connection
from django_eventstream.models import Event as EventRow

from cloudtrain_site.events import relay as event_relay
from cloudtrain_site.events.publish import ALL_CHANNELS, EVERYONE, rights_changed
from cloudtrain_site.events.relay import BATCH, EventRelay, current_relay, open_streams
from tests.cloudtrain_site.stream_client import apart, opened, publish_many, publish_one, run, until

pytestmark = pytest.mark.django_db(transaction=True)

ALICE, BOB = 1, 2
TABLE = EventRow._meta.db_table


class TestDelivery:
    def test_each_gets_the_events_of_its_channels(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, "organization-1") as alice, opened(BOB, "organization-2") as bob:
                for channel in ("organization-1", "organization-2", "organization-1", "organization-2"):
                    await publish_one(channel)

                await until(lambda: (alice.numbers, bob.numbers) == ([1, 3], [2, 4]))

        run(scene)

    def test_all_channels_get_everything(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, ALL_CHANNELS) as root:
                await publish_one("organization-1")
                await publish_one(EVERYONE)

                await until(lambda: root.numbers == [1, 2])

        run(scene)

    def test_a_burst_comes_whole_and_in_order(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                written = await publish_many(7 * BATCH + 1)

                await until(lambda: alice.numbers == written)

        run(scene)

    def test_what_was_told_before_is_not_told_again(self) -> None:
        async def scene() -> None:
            await publish_one(EVERYONE)
            async with opened(ALICE, EVERYONE) as alice:
                await publish_one(EVERYONE)

                await until(lambda: alice.numbers == [2])

        run(scene)


class TestLife:
    def test_begins_with_the_first_stream_and_ends_with_the_last(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE), opened(BOB, EVERYONE):
                assert open_streams() == 2
            assert open_streams() == 0
            await until(lambda: len(asyncio.all_tasks()) == 1)
            await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("events")])

        run(scene)

    def test_begins_anew_after_it_ended(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE):
                pass
            await publish_one(EVERYONE)
            async with opened(BOB, EVERYONE) as bob:
                await publish_one(EVERYONE)

                await until(lambda: bob.numbers == [2])

        run(scene)

    def test_a_failure_of_its_own_closes_the_streams(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                await apart(lambda: EventRow.objects.create(channel="user-1", eid=1, data="no JSON"))
                await until(alice.body.done)

        run(scene)

        assert "The event hub failed" in caplog.text


class TestRights:
    def test_a_change_ends_the_streams_of_that_user_only(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice, opened(BOB, ALL_CHANNELS) as bob:
                await apart(rights_changed, ALICE)
                await publish_one(EVERYONE)

                await until(alice.body.done)
                await until(lambda: bob.numbers == [2])
                assert alice.numbers == []

        run(scene)

    def test_a_change_before_the_stream_does_not_end_it(self) -> None:
        async def scene() -> None:
            async with opened(BOB, EVERYONE):
                await apart(rights_changed, ALICE)
                async with opened(ALICE, EVERYONE) as alice:
                    await publish_one(EVERYONE)

                    await until(lambda: alice.numbers == [2])
                    assert not alice.body.done()

        run(scene)


def rename_table(old: str, new: str) -> None:
    """Hide the events' table, as if the database were down; or bring it back."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@asynccontextmanager
async def unreadable_events() -> AsyncIterator[None]:
    """While the block runs, nobody can read events."""
    await apart(rename_table, TABLE, "hidden_events")
    try:
        yield
    finally:
        await apart(rename_table, "hidden_events", TABLE)


class TestOutage:
    @pytest.mark.slow
    def test_is_told_once_and_loses_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "simpletuner.cloud.events")

        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                async with unreadable_events():
                    await until(lambda: current_relay(0).failures >= 3)
                await publish_one(EVERYONE)

                await until(lambda: alice.numbers == [1])

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


def is_listening(relay: EventRelay) -> bool:
    """Whether the relay has the line to PostgreSQL that it should have; on SQLite it should have none."""
    return relay.listening == (connection.vendor == "postgresql")


class TestNotices:
    def test_postgresql_wakes_the_relay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_relay, "LISTENING_POLL_SECONDS", 60.0)

        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                await until(lambda: is_listening(current_relay(0)))
                await publish_one(EVERYONE)

                await until(lambda: alice.numbers == [1])

        run(scene)

    def test_a_cut_line_is_mended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_relay, "LISTENING_POLL_SECONDS", 60.0)

        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                relay = current_relay(0)
                await until(lambda: is_listening(relay))
                await apart(end_listeners)
                await publish_one(EVERYONE)
                await until(lambda: alice.numbers == [1])

                await until(lambda: is_listening(relay))
                await publish_one(EVERYONE)
                await until(lambda: alice.numbers == [1, 2])

        run(scene)
