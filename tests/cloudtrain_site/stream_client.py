"""Clients of a stream with no server in between, in an event loop of the test's own."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connection

from cloudtrain_site.events.readers import StreamReader
from cloudtrain_site.events.store import current_number
from cloudtrain_site.events.stream import send_stream
from cloudtrain_site.serving.asgi_types import Message
from tests.cloudtrain_site.event_factory import store_event, store_many
from tests.wait import PATIENCE_SECONDS


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time can be moved on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(scene())


def move_on(seconds: float) -> None:
    """Make it so much later."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    loop.ahead += seconds


async def until(condition: Callable[[], object]) -> None:
    """Let the others work until `condition()` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def apart(work: Callable[..., Any], *args: Any) -> Any:
    """What `work` returns, done in a thread on a connection that is closed afterwards."""

    def done() -> Any:
        try:
            return work(*args)
        finally:
            connection.close()

    return await asyncio.to_thread(done)


async def publish_one(channel: str, **data: Any) -> int:
    """Store an event as another process would; returns its number."""
    return int(await apart(lambda: store_event("news", channel, **data)))


async def publish_many(count: int, **data: Any) -> list[int]:
    """Store that many events for everyone in one transaction; returns their numbers."""
    return [int(number) for number in await apart(lambda: store_many(count, **data))]


class StreamClient:
    """Takes what it is sent; while `takes` is not set, it takes nothing."""

    def __init__(self, reader: StreamReader) -> None:
        self.reader = reader
        self.text = ""
        self.takes, self.leaves = asyncio.Event(), asyncio.Event()
        self.takes.set()
        self.body = asyncio.create_task(send_stream(reader, "test", self.receive, self.send))

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        self.text += message.get("body", b"").decode()

    @property
    def numbers(self) -> list[int]:
        """The messages that came."""
        return [int(number) for number in re.findall(r"(?<=\n\n)id: (\d+)\ndata: ", self.text)]

    @property
    def has_caught_up(self) -> bool:
        """Whether the table was read for it, once at least."""
        return f":{' ' * 2048}\n\n" in self.text


@asynccontextmanager
async def opened(
    user_id: int, *channels: str, joined_at: int | None = None, last_id: int | None = None, caught_up: bool = True
) -> AsyncIterator[StreamClient]:
    """A client of a stream that was admitted at the newest number, or at `joined_at`, and goes on after `last_id`."""
    newest = await apart(current_number) if joined_at is None else joined_at
    client = StreamClient(StreamReader(user_id, frozenset(channels), newest, newest if last_id is None else last_id))
    try:
        await until(lambda: client.body.done() or (client.has_caught_up if caught_up else client.text))
        yield client
    finally:
        client.leaves.set()
        client.takes.set()
        await client.body


@contextmanager
def no_reads() -> Iterator[Callable[[], None]]:
    """Until the block ends, or what it gets is called, whoever wants to read the table for a stream has to wait."""
    may_go_on = threading.Event()
    SyncToAsync.single_thread_executor.submit(may_go_on.wait, PATIENCE_SECONDS)
    try:
        yield may_go_on.set
    finally:
        may_go_on.set()
