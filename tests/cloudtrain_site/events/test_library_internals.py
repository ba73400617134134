"""What we rely on in django-eventstream, and asgiref, though they don't document it. An upgrade may change any of it.

Each test fails with a sentence that says what is no longer so, and with that what to look at in `events/readers.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django_eventstream import views
from django_eventstream.channelmanager import DefaultChannelManager
from django_eventstream.event import Event
from django_eventstream.eventrequest import EventRequest
from django_eventstream.storage import EventDoesNotExist, StorageBase
from django_eventstream.views import Listener, get_listener_manager, stream

from cloudtrain_site.events import readers
from tests.cloudtrain_site.stream_client import move_on, run, until
from tests.wait import PATIENCE_SECONDS

HERE = "tests.cloudtrain_site.events.test_library_internals"
NAME = "stream-of-the-test"
OPENING = f":{' ' * 2048}\n\nevent: stream-open\ndata:\n\n"
#: How many events `stream()` sends from one read.
BATCH = 100


class Table(StorageBase):  # type: ignore[misc]
    """Holds as many events as `size` says, from the first number that is `kept` on, and notes what it is asked."""

    size, kept = 0, 1
    reads: list[tuple[str, int, int]] = []
    threads: set[int] = set()
    may_answer = threading.Event()

    def get_events(self, channel: str, last_id: int, limit: int = 100) -> list[Event]:
        self.reads.append((channel, last_id, limit))
        self.threads.add(threading.get_ident())
        assert self.may_answer.wait(PATIENCE_SECONDS)
        if last_id + 1 < self.kept:
            raise EventDoesNotExist("not kept", self.size)
        return [event(number) for number in range(last_id + 1, min(last_id + limit, self.size) + 1)]


class Channels(DefaultChannelManager):  # type: ignore[misc]
    """Lets everybody read everything, and notes who asked."""

    checks: list[tuple[object, str]] = []

    def can_read_channel(self, user: object, channel: str) -> bool:
        self.checks.append((user, channel))
        return True


@pytest.fixture(autouse=True)
def _as_new(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EVENTSTREAM_STORAGE_CLASS = f"{HERE}.Table"
    settings.EVENTSTREAM_CHANNELMANAGER_CLASS = f"{HERE}.Channels"
    answering = threading.Event()
    answering.set()
    for name, value in {"size": 0, "kept": 1, "reads": [], "threads": set(), "may_answer": answering}.items():
        monkeypatch.setattr(Table, name, value)
    monkeypatch.setattr(Channels, "checks", [])


def event(number: int) -> Event:
    return Event("a channel of ours", "message", f'{{"id": {number}}}', id=number)


def text_of(number: int) -> str:
    return f'event: message\nid: {NAME}:{number}\ndata: {{"id": {number}}}\n\n'


def push(*numbers: int) -> None:
    for number in numbers:
        get_listener_manager().add_to_queues(NAME, event(number))


@asynccontextmanager
async def streaming(after: int = 0) -> AsyncIterator[tuple[AsyncIterator[str], Listener]]:
    """The library's `stream()`, as we call it, with its listener."""
    request = EventRequest()
    request.is_next = False
    request.channels = {NAME}
    request.channel_last_ids = {NAME: str(after)}
    listener = Listener()
    listener.channels = request.channels
    async with aclosing(stream(request, listener)) as texts:
        yield texts, listener


async def soon(text: Awaitable[str], otherwise: str) -> str:
    """The text; the test fails with the sentence `otherwise` when it does not come."""
    try:
        return await asyncio.wait_for(text, PATIENCE_SECONDS)
    except TimeoutError:
        pytest.fail(otherwise)


async def opening_of(texts: AsyncIterator[str]) -> str:
    return await soon(anext(texts), "stream() sends nothing at its beginning")


async def waits_for_events(texts: AsyncIterator[str]) -> asyncio.Task[str]:
    """What comes next, from a stream that has sent all that it read and now waits."""
    following: asyncio.Task[str] = asyncio.ensure_future(anext(texts))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not following.done(), "stream() sends something more after a read that found nothing"
    return following


def test_stream_takes_a_request_and_a_listener() -> None:
    assert list(inspect.signature(stream).parameters) == ["event_request", "listener"], (
        "stream() takes other arguments than (event_request, listener): see send_stream and StreamReader.for_library"
    )


def test_an_empty_request_needs_is_next_and_nothing_else() -> None:
    assert not hasattr(EventRequest(), "is_next"), (
        "An empty EventRequest sets is_next by itself now: StreamReader.for_library need not"
    )
    assert set(vars(EventRequest())) == {"channels", "channel_last_ids", "is_recover", "user"}, (
        "An EventRequest has other attributes: look whether StreamReader.for_library sets all that get_events reads"
    )


class TestTexts:
    def test_opening(self) -> None:
        async def scene() -> None:
            async with streaming() as (texts, _):
                assert await opening_of(texts) == OPENING, (
                    "stream() opens with another text: StreamReader.rewritten takes its stream-open out, and proxies "
                    "that wait for 2 kB get them from its padding"
                )

        run(scene)

    def test_keep_alive_after_twenty_seconds(self) -> None:
        async def scene() -> None:
            async with streaming() as (texts, _):
                await opening_of(texts)
                following = await waits_for_events(texts)
                move_on(20.1)

                otherwise = (
                    "stream() keeps an idle client alive at another time than after 20 s, or with another text: "
                    "StreamReader.rewritten puts the position in it"
                )
                assert await soon(following, otherwise) == "event: keep-alive\ndata:\n\n", otherwise

        run(scene)

    def test_events(self) -> None:
        async def scene() -> None:
            Table.size = 1
            async with streaming() as (texts, _):
                otherwise = (
                    "stream() writes an event in another way: StreamReader.rewritten makes plain numbers of its ids"
                )
                opening = await opening_of(texts)
                following = await waits_for_events(texts)
                push(2)

                assert (opening, await soon(following, otherwise)) == (OPENING + text_of(1), text_of(2)), otherwise

        run(scene)

    def test_reset(self) -> None:
        async def scene() -> None:
            Table.size, Table.kept = 7, 5
            async with streaming(after=2) as (texts, _):
                reset = f'event: stream-reset\nid: {NAME}:7\ndata: {{"channels": ["{NAME}"]}}\n\n'

                assert await opening_of(texts) == OPENING + reset, (
                    "stream() tells of an EventDoesNotExist in another way: StreamReader.rewritten rewrites that text"
                )

        run(scene)


class TestReading:
    def test_asks_for_one_more_than_it_sends_and_goes_on_after_the_last_sent(self) -> None:
        async def scene() -> None:
            Table.size = BATCH + 1
            async with streaming() as (texts, _):
                first = await opening_of(texts)
                second = await soon(anext(texts), "get_events does not read on after a full answer of 101 rows")

            assert Table.reads == [(NAME, 0, BATCH + 1), (NAME, BATCH, BATCH + 1)], (
                "get_events reads in other steps than 101 rows of which it sends 100: StreamReader.read counts on that"
            )
            assert first.endswith(text_of(BATCH)), "get_events keeps all rows of a full answer: see StreamReader.read"
            assert second == text_of(BATCH + 1), "get_events does not go on after the last row sent"

        run(scene)

    def test_reads_again_from_the_same_number_when_something_came_meanwhile(self) -> None:
        async def scene() -> None:
            Table.may_answer.clear()
            async with streaming() as (texts, listener):
                first = asyncio.ensure_future(anext(texts))
                await until(lambda: Table.reads)
                push(1)
                Table.may_answer.set()
                await first
                otherwise = (
                    "stream() no longer reads again after a conflict, or reads from another number: StreamReader.read "
                    "goes on from read_to because it does"
                )
                again = await soon(anext(texts), otherwise)

                assert [after for _, after, _ in Table.reads] == [0, 0], otherwise
                assert (again, listener.channel_items) == ("", {}), (
                    "stream() sends what came while it read, and the table gives it once more"
                )

        run(scene)

    def test_asks_nobody_but_the_channel_manager_and_without_a_user(self) -> None:
        async def scene() -> None:
            async with streaming() as (texts, _):
                await opening_of(texts)

            assert Channels.checks == [(None, NAME)], (
                "get_events asks for permission in another way: jobs/channels.py answers can_read_channel(None, name)"
            )

        run(scene)

    def test_is_done_in_one_thread_for_all(self) -> None:
        async def open_one() -> None:
            async with streaming() as (texts, _):
                await opening_of(texts)

        async def scene() -> None:
            await asyncio.gather(*(open_one() for _ in range(5)))
            shared = SyncToAsync.single_thread_executor.submit(threading.get_ident).result(PATIENCE_SECONDS)

            assert Table.threads == {shared}, (
                "asgiref, or stream(), gives a task outside of any request a thread of its own: each stream would have "
                "one, and its database connection"
            )

        run(scene)

    def test_is_begun_by_the_librarys_sync_to_async(self) -> None:
        assert views.sync_to_async is readers._choose, (
            "Another one replaces views.sync_to_async, which readers.py replaces so that recent events need no thread"
        )
        assert "get_events = sync_to_async(get_events)" in inspect.getsource(stream), (
            "stream() no longer takes views.sync_to_async to read: each stream would read the table at its beginning"
        )


class TestQueue:
    def test_max_pending_counts_when_an_event_is_queued(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(views, "MAX_PENDING", 2)
        listener = Listener()
        listener.channels = {NAME}
        listener.assign_loop = listener.wake_threadsafe = lambda: None
        get_listener_manager().add_listener(listener)
        try:
            push(1, 2, 3)
        finally:
            get_listener_manager().remove_listener(listener)

        assert ([item.id for item in listener.channel_items[NAME]], listener.overflow) == ([1, 2], True), (
            "add_to_queues no longer reads views.MAX_PENDING at each call, or marks a full queue in another way than "
            "by listener.overflow: readers.py sets the one and StreamReader.offer the other"
        )

    def test_what_did_not_fit_is_read_from_the_table(self) -> None:
        async def scene() -> None:
            async with streaming() as (texts, listener):
                await opening_of(texts)
                following = await waits_for_events(texts)
                Table.size = 3
                listener.overflow = True
                push(1)

                otherwise = (
                    "stream() does not read the table after an overflow: StreamReader.offer leaves to it what is too "
                    "large to wait"
                )
                found = [await soon(text, otherwise) for text in (following, anext(texts))]
                assert found == [text_of(1), text_of(2) + text_of(3)], otherwise
                assert not listener.overflow, "stream() no longer takes the overflow back: it would read for ever"

        run(scene)

    def test_a_listener_is_woken_by_its_own_method_and_its_event(self) -> None:
        class OwnListener(Listener):  # type: ignore[misc]
            woken = 0

            def wake_threadsafe(self) -> None:
                self.woken += 1

        listener = OwnListener()
        listener.channels = {NAME}
        get_listener_manager().add_listener(listener)
        try:
            push(1)
        finally:
            get_listener_manager().remove_listener(listener)

        assert listener.woken == 1, "add_to_queues wakes a listener otherwise than by wake_threadsafe: see LoopListener"
        assert isinstance(listener.aevent, asyncio.Event), "stream() waits for something else than listener.aevent"

    def test_a_stream_that_is_closed_leaves_no_listener(self) -> None:
        async def scene() -> None:
            async with streaming() as (texts, _):
                await opening_of(texts)
                assert NAME in get_listener_manager().listeners_by_channel

            assert NAME not in get_listener_manager().listeners_by_channel, (
                "A closed stream() leaves its listener behind: each client that goes would cost memory for ever"
            )

        run(scene)
