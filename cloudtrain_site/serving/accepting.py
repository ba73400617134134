"""Takes connections from a socket that several web processes share.

All of them are woken by a new connection, and the first takes it. Left to chance, most event streams would gather in
one process: so one that has clearly more than another lets the others come first, for a moment. When a connection
still waits then, because the others are busy or dead, it takes the connection after all.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable, Collection

from cloudtrain_site.serving.board import Board

logger = logging.getLogger("simpletuner.cloud.site")

#: A process with more than CLEARLY_MORE times another's connections and SOME has clearly more. Of a few connections
#: all short ones can be in one process: with a larger SOME all event streams would be in the other.
CLEARLY_MORE = 1.1
SOME = 1
#: It looks this many times, with this pause before each, and takes a connection when each time one waited. In all that
#: is longer than the 5 ms for which Python lets a request's thread of the other process run.
LOOKS = 10
LOOK_SECONDS = 0.001
#: After an error such as too many open files, as asyncio waits.
ERROR_SECONDS = 1.0


class Acceptor:
    """Takes one connection at a time, so that the others get theirs; from its start to `close`."""

    def __init__(
        self,
        listener: socket.socket,
        board: Board,
        slot: int,
        connections: Collection[object],
        new_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._listener, self._board, self._slot = listener, board, slot
        self._connections = connections
        self._new_protocol = new_protocol
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[object]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._is_open = True
        listener.setblocking(False)
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self.note()
        self._listen()

    def note(self) -> None:
        """Tell the other processes how many connections there are."""
        if self._is_open:
            self._board.note(self._slot, self.count())

    def close(self) -> None:
        """Take no more. The socket stays open: it is the other processes' as well."""
        self._is_open = False
        self._board.clear(self._slot)
        self._loop.remove_reader(self._listener)
        if self._later is not None:
            self._later.cancel()

    def count(self) -> int:
        """Return how many connections are open or about to be."""
        return len(self._connections) + len(self._beginning)

    def _take_or_yield(self) -> None:
        if self._has_clearly_more():
            self._pause(LOOK_SECONDS, self._look, LOOKS)
        else:
            self._take()

    def _has_clearly_more(self) -> bool:
        return self.count() > self._board.fewest_connections() * CLEARLY_MORE + SOME

    def _look(self, looks: int) -> None:
        if not self._poll.poll(0):
            self._listen()
        elif looks > 1 and self._has_clearly_more():
            self._later = self._loop.call_later(LOOK_SECONDS, self._look, looks - 1)
        else:
            self._listen()
            self._take()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._take_or_yield)

    def _pause(self, seconds: float, then: Callable[..., None], *arguments: int) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(seconds, then, *arguments)

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was first, or the client is gone
        except OSError:
            logger.exception("A connection could not be taken")
            self._pause(ERROR_SECONDS, self._listen)
            return
        connection.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._new_protocol, connection)
        )
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        self.note()
