"""What is read in threads while it is sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

from jobs.outputs.streams import streamed


def test_a_client_that_hangs_up_while_a_piece_is_read_ends_the_reading() -> None:
    is_reading, may_go_on, is_closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Generator[bytes]:
        try:
            yield b"first"
            is_reading.set()
            assert may_go_on.wait(30)
            yield b"second"
        finally:
            is_closed.set()

    async def download() -> list[bytes]:
        return [piece async for piece in streamed(pieces())]

    async def hang_up() -> None:
        task = asyncio.create_task(download())
        assert await asyncio.to_thread(is_reading.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError)
        assert await asyncio.to_thread(is_closed.wait, 30)

    asyncio.run(hang_up())


def test_the_pieces_come_in_order_without_empty_ones() -> None:
    async def read() -> list[bytes]:
        return [piece async for piece in streamed(piece for piece in (b"a", b"", b"b"))]

    assert asyncio.run(read()) == [b"a", b"b"]
