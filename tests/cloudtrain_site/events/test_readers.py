"""What only happens in the moments between two reads, and to a client that takes nothing."""

from __future__ import annotations

import pytest
from django.db import transaction
from django_eventstream import send_event
from django_eventstream.views import get_listener_manager

from cloudtrain_site.events import readers
from cloudtrain_site.events import stream as event_stream
from cloudtrain_site.events.publish import ALL_CHANNELS, EVERYONE, rights_changed
from cloudtrain_site.events.readers import QUEUE_CHARACTERS, UNKNOWN, RecentEvents, StreamReader, library_event
from cloudtrain_site.events.relay import current_relay, open_streams
from cloudtrain_site.events.store import StoredEvent, current_number, read_after
from tests.cloudtrain_site.event_factory import store_event
from tests.cloudtrain_site.stream_client import apart, move_on, no_reads, opened, publish_many, publish_one, run, until

pytestmark = pytest.mark.django_db(transaction=True)

ALICE, BOB = 1, 2
KEEP_ALIVE = "event: keep-alive\ndata:\n\n"


def queued(reader: StreamReader) -> int:
    """How many characters wait for it."""
    return sum(len(event.data) for event in reader.listener.channel_items.get(reader.name, []))


class TestReadingTheTable:
    def test_what_came_meanwhile_is_sent_once(self) -> None:
        async def scene() -> None:
            written = await publish_many(250)
            with no_reads() as let_read:
                async with opened(ALICE, EVERYONE, last_id=0, caught_up=False) as alice:
                    written += await publish_many(3)
                    await until(lambda: current_relay(0).position == written[-1])
                    assert queued(alice.reader)
                    let_read()
                    await until(lambda: len(alice.numbers) >= len(written))
                    written.append(await publish_one(EVERYONE))

                    await until(lambda: alice.numbers == written)

        run(scene)

    def test_what_it_gave_is_not_queued_when_the_relay_comes_to_it(self) -> None:
        for name in ("one", "two", "three"):
            store_event(name)
        reader = StreamReader(ALICE, frozenset({EVERYONE}), joined_at=0, read_to=0)
        _, listener = reader.for_library()
        get_listener_manager().add_listener(listener)
        try:
            assert [event.id for event in reader.read(0, 3)] == [1, 2, 3]  # of which the library keeps two
            for event in read_after(0, 10):
                reader.offer(event, library_event(event))
        finally:
            get_listener_manager().remove_listener(listener)

        assert [event.id for event in listener.channel_items[reader.name]] == [3]

    def test_a_reset_says_a_number_after_which_nothing_is_missing(self) -> None:
        async def scene() -> None:
            async with opened(BOB, EVERYONE) as bob:
                await publish_one(EVERYONE)
                await until(lambda: bob.numbers == [1])
                # Its rights were read before that event, and the relay is past it.
                async with opened(ALICE, EVERYONE, joined_at=0, last_id=UNKNOWN) as alice:
                    await publish_one(EVERYONE)

                    await until(lambda: alice.numbers == [2])
                    assert 'event: stream-reset\nid: 1\ndata: {"type": "stream-reset"}\n\n' in alice.text

        run(scene)

    def test_rights_that_changed_after_they_were_read_end_the_stream(self) -> None:
        async def scene() -> None:
            async with opened(BOB, ALL_CHANNELS) as bob:
                await apart(rights_changed, ALICE)
                await publish_one(EVERYONE)
                await until(lambda: bob.numbers == [2])
                # The relay is past the change: only the table can tell.
                async with opened(ALICE, EVERYONE, joined_at=0, caught_up=False) as alice:
                    await until(alice.body.done)

                    assert alice.numbers == []

        run(scene)

    def test_rights_that_changed_before_they_were_read_do_not(self) -> None:
        async def scene() -> None:
            await apart(rights_changed, ALICE)
            await publish_one(EVERYONE)
            async with opened(ALICE, EVERYONE, joined_at=1, last_id=0) as alice:
                await until(lambda: alice.numbers == [2])

        run(scene)

    def test_all_channels_are_not_given_what_is_about_rights(self) -> None:
        async def scene() -> None:
            await apart(rights_changed, ALICE)
            await publish_one(EVERYONE)
            async with opened(BOB, ALL_CHANNELS, last_id=0) as bob:
                await until(lambda: bob.numbers == [2])
                assert "rights" not in bob.text

        run(scene)


class TestRecentEvents:
    def test_who_comes_back_soon_needs_no_table(self) -> None:
        async def scene() -> None:
            async with opened(BOB, ALL_CHANNELS) as bob:
                written = await publish_many(250)
                foreign = await publish_one("organization-0")
                await apart(rights_changed, ALICE)
                await until(lambda: bob.numbers == [*written, foreign])
                with no_reads():
                    async with opened(ALICE, EVERYONE, last_id=3) as alice:
                        await until(lambda: alice.numbers == written[3:])
                        written.append(await publish_one(EVERYONE))

                        await until(lambda: alice.numbers == written[3:])

        run(scene)

    def test_a_process_that_takes_the_place_of_another_needs_no_table_either(self) -> None:
        async def scene() -> None:
            written = await publish_many(20)
            async with opened(BOB, EVERYONE) as bob:
                await until(lambda: bob.reader.needs_no_table(3))
                with no_reads():
                    async with opened(ALICE, EVERYONE, last_id=3) as alice:
                        written.append(await publish_one(EVERYONE))
                        await until(lambda: alice.numbers == written[3:])
                await until(lambda: bob.numbers == written[20:])

        run(scene)

    @pytest.mark.parametrize(
        ("earlier", "after", "kept"),
        [
            ([4, 5, 6], 3, [4, 5]),
            ([1, 2, 3, 5], 5, []),
            ([3, 4], 5, []),
            ([6], 5, []),
            ([], 5, []),
        ],
    )
    def test_earlier_ones_count_when_none_is_missing(self, earlier: list[int], after: int, kept: list[int]) -> None:
        recent = RecentEvents(after=5)
        recent.begin_with([StoredEvent(number, EVERYONE, "{}") for number in earlier])
        assert recent.after == after
        assert [event.number for event in recent.since(after)] == kept

    def test_what_fell_out_of_them_is_read_from_the_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "RECENT_EVENTS", 5)

        async def scene() -> None:
            async with opened(BOB, EVERYONE) as bob:
                written = await publish_many(20)
                await until(lambda: bob.numbers == written)
                async with opened(ALICE, EVERYONE, last_id=14) as alice:
                    await until(lambda: alice.numbers == written[14:])
                with no_reads():
                    async with opened(ALICE, EVERYONE, last_id=15) as alice:
                        await until(lambda: alice.numbers == written[15:])

        run(scene)

    def test_they_are_as_many_as_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "RECENT_CHARACTERS", 30)
        recent = RecentEvents(after=0)
        for number in range(1, 7):
            recent.append(StoredEvent(number, EVERYONE, "x" * 10))
        assert (recent.after, [event.number for event in recent.since(4)]) == (3, [5, 6])
        recent.append(StoredEvent(7, EVERYONE, "x" * 31))
        assert (recent.after, recent.since(7)) == (7, [])


class TestSlowClient:
    def test_gets_everything_and_never_makes_more_wait_than_fits(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as slow, opened(BOB, EVERYONE) as quick:
                slow.takes.clear()
                written = [number for _ in range(4) for number in await publish_many(60, text="x" * 5_000)]
                await until(lambda: quick.numbers == written)
                await until(lambda: queued(slow.reader) > 0)
                assert queued(slow.reader) <= QUEUE_CHARACTERS
                slow.takes.set()

                await until(lambda: slow.numbers == written)

        run(scene)

    def test_gets_a_large_event_before_a_small_one_that_would_still_fit(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as slow, opened(BOB, EVERYONE) as quick:
                slow.takes.clear()
                lengths = (1, 1, QUEUE_CHARACTERS + 1, 1)
                written = [await publish_one(EVERYONE, text="x" * length) for length in lengths]
                await until(lambda: quick.numbers == written)
                slow.takes.set()

                await until(lambda: slow.numbers == written)

        run(scene)

    def test_gets_an_event_that_is_larger_than_the_queue(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                written = [await publish_one(EVERYONE, text="x" * (QUEUE_CHARACTERS + 1)) for _ in range(2)]

                await until(lambda: alice.numbers == written)

        run(scene)

    def test_loses_the_stream_with_its_rights(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as slow:
                slow.takes.clear()
                await publish_one(EVERYONE)
                await apart(rights_changed, ALICE)
                await publish_one(EVERYONE)
                await until(lambda: slow.reader.ended)
                slow.takes.set()
                await until(slow.body.done)

                assert 2 not in slow.numbers

        run(scene)


class TestLifetime:
    def test_is_over_for_a_client_that_takes_nothing_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_stream, "LIFETIME_SECONDS", (600.0, 600.0))

        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as slow:
                slow.takes.clear()
                await publish_one(EVERYONE)
                move_on(601)

                await until(lambda: not open_streams())

        run(scene)

    def test_a_change_of_rights_at_its_very_end_is_no_error(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice, opened(BOB, EVERYONE) as bob:
                assert alice.reader.lifetime is not None
                move_on(901)
                await until(alice.reader.lifetime.expired)
                alice.reader.end()
                await until(bob.body.done)

        run(scene)


class TestKeepAlive:
    def test_moves_an_idle_client_on(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                number = await publish_one("organization-0")
                await until(lambda: current_relay(0).position == number)
                move_on(21)

                await until(lambda: f"\n\n: keep-alive\nid: {number}\n\n" in alice.text)

        run(scene)

    def test_does_not_move_a_client_past_what_waits_for_it(self) -> None:
        reader = StreamReader(ALICE, frozenset({EVERYONE}), joined_at=5, read_to=5)

        assert reader.rewritten(KEEP_ALIVE, 6) == ": keep-alive\nid: 6\n\n"
        reader.listener.channel_items = {reader.name: ["an event"]}
        assert reader.rewritten(KEEP_ALIVE, 6) == ": keep-alive\n\n"

    def test_never_moves_a_client_back(self) -> None:
        reader = StreamReader(ALICE, frozenset({EVERYONE}), joined_at=5, read_to=5)

        assert [reader.rewritten(KEEP_ALIVE, position) for position in (4, 5)] == [": keep-alive\n\n"] * 2


class TestText:
    def test_an_event_that_quotes_the_stream_arrives_as_it_is(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                text = f"event: message\nid: {alice.reader.name}:7\n\nevent: stream-open\ndata:\n\n"
                await publish_one(EVERYONE, text=text)
                await until(lambda: alice.numbers == [1])

                escaped = text.replace("\n", "\\n")
                assert f'\n\nid: 1\ndata: {{"id": 1, "type": "news", "text": "{escaped}"}}\n\n' in alice.text

        run(scene)

    def test_the_greeting_repeats_no_number_that_is_not_known(self) -> None:
        async def scene() -> None:
            async with (
                opened(ALICE, EVERYONE, joined_at=5) as new,
                opened(ALICE, EVERYONE, joined_at=5, last_id=UNKNOWN) as unknown,
            ):
                assert "stream-open\nid: 5\n" in new.text
                assert "stream-open\ndata" in unknown.text

        run(scene)


class TestSendEvent:
    """The library's own way to publish."""

    def test_reaches_the_streams_once(self) -> None:
        async def scene() -> None:
            async with opened(ALICE, EVERYONE) as alice:
                await publish_one(EVERYONE)
                await apart(send_event, EVERYONE, "message", {"type": "news"})
                await publish_one(EVERYONE)

                await until(lambda: alice.numbers == [1, 2, 3])
                assert 'id: 2\ndata: {"id": 2, "type": "news"}\n\n' in alice.text

        run(scene)

    def test_is_undone_with_the_transaction(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            send_event(EVERYONE, "message", {"type": "news"})
            1 / 0  # noqa: B018

        assert store_event("after") == 1

    @pytest.mark.parametrize(("event_type", "data"), [("other", {"type": "x"}), ("message", {}), ("message", "text")])
    def test_refuses_what_no_browser_could_read(self, event_type: str, data: object) -> None:
        with pytest.raises(ValueError, match="An event is a `message`"):
            send_event(EVERYONE, event_type, data)

        assert (current_number(), read_after(0, 10)) == (0, [])
