"""How web processes share one socket: who takes a connection, and what each says of itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import pytest

from cloudtrain_site.serving.accepting import CLEARLY_MORE, SOME, Acceptor
from cloudtrain_site.serving.board import Board


class Greeter(asyncio.Protocol):
    """Says which process it stands for."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.name)
        transport.close()


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener


async def answer(listener: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    text = await reader.read()
    writer.close()
    return text


def test_a_board_is_the_same_to_all_that_have_it() -> None:
    board = Board.create(3)
    other = Board(os.dup(board.descriptor))
    assert not board.serves(1)
    assert board.fewest_connections() == 0
    other.note(1, 7)
    other.note(2, 0)
    assert board.serves(1)
    assert board.fewest_connections() == 0
    other.clear(2)
    assert board.fewest_connections() == 7
    assert board.group == other.group != Board.create(1).group


def test_one_with_clearly_more_lets_the_other_take_it(listener: socket.socket) -> None:
    async def scene(second: socket.socket) -> None:
        board = Board.create(2)
        # The first to be woken is the one that is to stand back.
        busy = Acceptor(second, board, 0, range(SOME + 1), lambda: Greeter(b"busy"))
        idle = Acceptor(listener, board, 1, [], lambda: Greeter(b"idle"))
        assert await answer(listener) == b"idle"
        # It takes them after all when nobody else does.
        idle.close()
        board.note(1, 0)
        assert await answer(listener) == b"busy"
        busy.close()
        busy.note()  # as connections that are still open do when they end
        assert not board.serves(0)

    with listener.dup() as second:
        run(scene(second))


def test_two_with_about_as_many_both_take_some(listener: socket.socket) -> None:
    async def scene(second: socket.socket) -> None:
        board, held = Board.create(2), (set[object](), set[object]())

        class Keeper(asyncio.Protocol):
            def __init__(self, connections: set[object]) -> None:
                self.connections = connections

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.connections.add(transport)

        acceptors = [
            Acceptor(one, board, slot, held[slot], partial(Keeper, held[slot]))
            for slot, one in enumerate((listener, second))
        ]
        opened = [await asyncio.open_connection(*listener.getsockname()) for _ in range(60)]
        while len(held[0]) + len(held[1]) < 60:
            await asyncio.sleep(0)
        fewer, more = sorted(map(len, held))
        assert more <= fewer * CLEARLY_MORE + SOME + 1
        for _, writer in opened:
            writer.close()
        for acceptor in acceptors:
            acceptor.close()

    with listener.dup() as second:
        run(scene(second))
