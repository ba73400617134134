"""From a stream of a coroutine's to a plain loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def in_parts(start: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """What the stream yields, as it comes, and the error that ends it.

    The stream runs in a thread of its own, so that whatever the caller does with one part (it writes to the database)
    keeps no other request waiting. A caller who stops early ends the stream.
    """
    arrived: queue.SimpleQueue[tuple[T | None, BaseException | None, bool]] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()

    async def drain() -> None:
        async for part in start():
            arrived.put((part, None, False))

    task = loop.create_task(drain())

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.get_loop().run_until_complete(task)
        except BaseException as error:
            arrived.put((None, error, True))
        else:
            arrived.put((None, None, True))

    thread = threading.Thread(target=copy_context().run, args=(run,), name="provider-stream", daemon=True)
    thread.start()
    try:
        yield from _until_the_end(arrived)
    finally:
        with suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _until_the_end(arrived: queue.SimpleQueue[tuple[T | None, BaseException | None, bool]]) -> Iterator[T]:
    while True:
        part, error, is_end = arrived.get()
        if error is not None:
            raise error
        if is_end:
            return
        assert part is not None
        yield part
