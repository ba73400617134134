"""Very cheap readers of event streams, so that thousands of them leave the processor to the site.

An event says which of its organization's events it is, counted from 1: a reader that sees the numbers of its
organization one after the other has lost none and got none twice.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import cast

#: An event of this bench, with its id, as the site sends it.
EVENT = re.compile(rb'id: (\d+)\ndata: \{"id": \d+, "type": "bench", "turn": (\d+), "at": ([\d.]+)\}\n\n')
COMES_BACK_SECONDS = 2.0


@dataclass
class Arrivals:
    """What all readers saw together."""

    #: By organization and turn: how late the last reader had it, of all and of those whose stream was open before it.
    latest: defaultdict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    latest_of_open: defaultdict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    count: int = 0
    doubled: int = 0
    lost: int = 0
    reconnects: int = 0
    refused: Counter[bytes] = field(default_factory=Counter)

    def note(self, key: tuple[int, int], late: float, *, was_open: bool) -> None:
        self.count += 1
        self.latest[key] = max(self.latest[key], late)
        if was_open:
            self.latest_of_open[key] = max(self.latest_of_open[key], late)


class Reader(asyncio.Protocol):
    """One stream, which is opened again with its last id whenever it ends."""

    def __init__(self, port: int, organization: int, session: str, arrivals: Arrivals) -> None:
        self.port, self.organization, self.arrivals = port, organization, arrivals
        self._head = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nCookie: sessionid={session}\r\n".encode()
        self.last_id = b""
        self.turn = 0
        self.is_open = asyncio.Event()
        self.opened_at = 0.0
        self.is_away = False
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, again and again if need be, and return when the stream has begun."""
        self.is_open.clear()
        self._rest = b""
        while True:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(COMES_BACK_SECONDS)
            else:
                break
        await self.is_open.wait()

    def leave(self) -> None:
        """Go without a word."""
        self.is_away = True
        if self._transport is not None:
            self._transport.abort()

    async def come_back(self) -> None:
        self.is_away = False
        self.arrivals.reconnects += 1
        await self.open()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.WriteTransport, transport)
        resume = b"Last-Event-ID: %s\r\n" % self.last_id if self.last_id else b""
        transport.write(self._head + resume + b"\r\n")

    def data_received(self, data: bytes) -> None:
        if not self.is_open.is_set():
            self._begin(data)
            return
        self._take(data)

    def _begin(self, data: bytes) -> None:
        self._rest += data
        head, ended, body = self._rest.partition(b"\r\n\r\n")
        if not ended:
            return
        if b" 200 " not in head[:20]:
            self.arrivals.refused[head.partition(b"\r\n")[0]] += 1
            if self._transport is not None:
                self._transport.close()
            return
        if b"stream-open" not in body:
            return  # the greeting is on its way
        greeted = re.search(rb"\nid: (\d+)\n", body)
        if greeted:
            self.last_id = greeted[1]
        self._rest = b""
        self.opened_at = time.monotonic()
        self.is_open.set()
        self._take(body)

    def _take(self, data: bytes) -> None:
        now = time.monotonic()
        if self._rest:
            data = self._rest + data
        end = 0
        for match in EVENT.finditer(data):
            end = match.end()
            number, turn, at = match.groups()
            self._note(int(turn))
            self.last_id = number
            sent_at = float(at)
            self.arrivals.note((self.organization, int(turn)), now - sent_at, was_open=self.opened_at < sent_at)
        # Of a chunk that was cut, the part that may be the beginning of an event.
        self._rest = data[max(end, len(data) - 512) :] if data[end:].rstrip(b"\r\n0123456789abcdef") else b""

    def _note(self, turn: int) -> None:
        if self.turn:
            self.arrivals.doubled += turn <= self.turn
            self.arrivals.lost += max(0, turn - self.turn - 1)
        self.turn = max(turn, self.turn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_open.clear()
        if not self.is_away:
            self.is_away = True
            asyncio.get_running_loop().call_later(COMES_BACK_SECONDS, self._retry)

    def _retry(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.come_back())
