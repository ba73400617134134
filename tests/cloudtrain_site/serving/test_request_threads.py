"""A few reused threads answer the requests, in the order in which these came."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from cloudtrain_site.serving import request_threads
from cloudtrain_site.serving.request_threads import AT_ONCE, RequestThreads
from tests.wait import PATIENCE_SECONDS

seen: ContextVar[str] = ContextVar("seen", default="nobody")


@pytest.fixture(autouse=True)
def short_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "IDLE_SECONDS", 0.05)


def in_a_loop(work: Callable[[RequestThreads], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(work(RequestThreads()), PATIENCE_SECONDS)

    asyncio.run(limited())


def threads_for_requests() -> set[threading.Thread]:
    """Return the threads of all requests in this process: other tests' web servers have some too."""
    return {thread for thread in threading.enumerate() if thread.name == "request"}


def test_a_call_has_its_callers_context_and_leaves_nothing_to_the_next() -> None:
    def read_and_set(name: str) -> tuple[str, str, int]:
        before = seen.get()
        seen.set(name)
        return before, seen.get(), threading.get_ident()

    async def work(threads: RequestThreads) -> None:
        seen.set("caller")
        first = await threads.run(read_and_set, "first")
        second = await threads.run(read_and_set, "second")
        assert first == ("caller", "first", second[2])
        assert second[:2] == ("caller", "second")
        assert seen.get() == "caller"

    in_a_loop(work)


def test_an_error_is_its_callers_and_the_thread_goes_on() -> None:
    async def work(threads: RequestThreads) -> None:
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(next, iter(()))
        assert await threads.run(int, "7") == 7

    in_a_loop(work)


def test_so_many_are_answered_at_once_and_the_others_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_threads, "SLOW_SECONDS", PATIENCE_SECONDS)
    begun: list[int] = []
    places = [threading.Event() for _ in range(AT_ONCE + 3)]

    def answer(number: int) -> None:
        begun.append(number)
        assert places[number].wait(PATIENCE_SECONDS)

    async def work(threads: RequestThreads) -> None:
        calls = [asyncio.ensure_future(threads.run(answer, number)) for number in range(len(places))]
        while len(begun) < AT_ONCE:
            await asyncio.sleep(0.001)
        for number, place in enumerate(places):
            assert sorted(begun[:AT_ONCE]) == list(range(AT_ONCE))
            assert begun[AT_ONCE:] == list(range(AT_ONCE, min(AT_ONCE + number, len(places))))
            place.set()
            await calls[number]
            while len(begun) < min(AT_ONCE + number + 1, len(places)):
                await asyncio.sleep(0.001)

    in_a_loop(work)


def test_slow_ones_hold_nobody_up_and_their_threads_end() -> None:
    answered, others = threading.Event(), threads_for_requests()

    async def work(threads: RequestThreads) -> None:
        slow = [asyncio.ensure_future(threads.run(answered.wait, PATIENCE_SECONDS)) for _ in range(4 * AT_ONCE)]
        assert await threads.run(int, "7") == 7
        answered.set()
        assert all(await asyncio.gather(*slow))
        assert await threads.run(int, "8") == 8
        while threads_for_requests() - others:
            await asyncio.sleep(0.01)
        assert await threads.run(int, "9") == 9

    in_a_loop(work)


def test_a_cancelled_caller_waits_for_the_end() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def answer() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        done.set()

    async def work(threads: RequestThreads) -> None:
        call = asyncio.ensure_future(threads.run(answer))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for _ in range(2):
            call.cancel()
            await asyncio.sleep(0)
        assert not call.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert done.is_set()

    in_a_loop(work)


def test_without_a_further_thread_the_calls_wait_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    start, go_on = threading.Thread.start, threading.Event()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def work(threads: RequestThreads) -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="No thread can be started"):
            await threads.run(int, "6")
        monkeypatch.setattr(threading.Thread, "start", start)
        first = asyncio.ensure_future(threads.run(go_on.wait, PATIENCE_SECONDS))
        await asyncio.sleep(0)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        others = [asyncio.ensure_future(threads.run(int, "7")) for _ in range(2)]
        await asyncio.sleep(0)
        go_on.set()
        assert await first
        assert await asyncio.gather(*others) == [7, 7]

    in_a_loop(work)
