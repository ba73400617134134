"""uvicorn's protocol, with a time limit for the head of a request, and an end that no client trips over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

#: From the connection, or from the first byte of a further request.
HEAD_SECONDS = 30.0


class State(ServerState):
    """What the connections of a server share."""

    #: Another process takes new connections: each answer here is the last on its connection, and says so.
    is_draining = False

    def __init__(self) -> None:
        super().__init__()
        #: Called when a connection is over, and counted no more.
        self.on_lost: Callable[[], None] = lambda: None

    def drain(self) -> None:
        """Have each connection end with its next answer."""
        self.is_draining = True
        for connection in self.connections:
            if isinstance(connection, PatientProtocol):
                connection.announce_end()


class _Pipeline(list[Any]):
    """What uvicorn needs of its queue of further requests: an empty deque has 700 bytes, for each open stream."""

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection on which the head of a request is expected and doesn't arrive."""

    #: The present request or the last one; None before the first.
    cycle: Any
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.pipeline = _Pipeline()  # type: ignore[assignment]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if getattr(self.server_state, "is_draining", False):
            self.announce_end()

    def announce_end(self) -> None:
        """Close the connection after the present answer, which says so if it has not begun."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)
        if isinstance(self.server_state, State):
            self.server_state.on_lost()

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
