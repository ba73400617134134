"""Sends webhooks as Replicate does, from a process of its own: `python -m bench.webhook_sender < plan.json`.

The plan names the port, the secret, the rate and the bodies. All are signed before the clock starts, and sent at the
moments when they are due, whether or not the earlier ones were answered, over connections that are kept. An answer's
time counts from when its delivery was due: one that had to wait for a free connection has waited too.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import httptools

PATH = "/api/webhooks/replicate"
#: After the last one was due.
PATIENCE_SECONDS = 60.0


def request(secret: bytes, number: int, body: bytes) -> bytes:
    """One delivery with its headers, as it goes over the wire."""
    delivery, stamp = f"msg_{number:024d}", str(int(time.time()))
    signature = hmac.digest(secret, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: webhooks\r\nContent-Type: application/json\r\n"
        f"webhook-id: {delivery}\r\nwebhook-timestamp: {stamp}\r\n"
        f"webhook-signature: v1,{base64.b64encode(signature).decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass
class Sending:
    """What is sent, what waits for a free connection, and what was answered."""

    requests: list[bytes]
    free: deque[Connection] = field(default_factory=deque)
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    took: list[float] = field(default_factory=list)
    refused: int = 0

    def send(self, number: int, due: float) -> None:
        """Now, or as soon as a connection is free."""
        if self.free:
            self.free.popleft().send(self.requests[number], due)
        else:
            self.waiting.append((number, due))

    def answered(self, connection: Connection, status: int, due: float) -> None:
        """Take down an answer, and give its connection to whoever waits."""
        self.took.append(time.perf_counter() - due)
        self.refused += status != 200
        if self.waiting:
            number, next_due = self.waiting.popleft()
            connection.send(self.requests[number], next_due)
        else:
            self.free.append(connection)


class Connection(asyncio.Protocol):
    """One kept connection, with at most one delivery under way."""

    def __init__(self, sending: Sending) -> None:
        self.sending = sending
        self.due = 0.0
        self.parser: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, data: bytes, due: float) -> None:
        self.due, self.parser = due, httptools.HttpResponseParser(self)
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.sending.answered(self, self.parser.get_status_code(), self.due)


async def send_all(plan: dict[str, Any]) -> dict[str, Any]:
    """What came of it: the seconds of each answer, how many were no 200, how long it took in all."""
    secret = base64.b64decode(plan["secret"].removeprefix("whsec_"))
    sending = Sending([request(secret, number, body.encode()) for number, body in enumerate(plan["bodies"])])
    loop = asyncio.get_running_loop()
    for _ in range(plan["connections"]):
        _, connection = await loop.create_connection(lambda: Connection(sending), "127.0.0.1", plan["port"])
        sending.free.append(connection)
    worked, begin = time.process_time(), time.perf_counter()
    for number in range(len(sending.requests)):
        due = begin + number / plan["rate"]
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        sending.send(number, due)
    while len(sending.took) < len(sending.requests) and time.perf_counter() < due + PATIENCE_SECONDS:
        await asyncio.sleep(0.01)
    return {
        "took": sending.took,
        "refused": sending.refused,
        "seconds": time.perf_counter() - begin,
        "worked": time.process_time() - worked,
    }


if __name__ == "__main__":
    json.dump(asyncio.run(send_all(json.load(sys.stdin))), sys.stdout)
