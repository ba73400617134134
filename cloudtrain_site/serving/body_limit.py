"""Ends a request that is too large, or does not arrive: Django would wait, and write all of it to disk first.

One that finds no room on that disk ends here too: Django writes it before any view or middleware is called.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from django.conf import settings

from cloudtrain_site.correlation import id_of_request
from cloudtrain_site.correlation_ids import HEADER, correlation
from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.errors import error_body
from cloudtrain_site.extensions import RequestLimit, request_limits
from cloudtrain_site.serving.asgi_types import App, Message, Receive, Scope, Send

logger = logging.getLogger("simpletuner.cloud.http")

#: A webhook has up to ten megabytes, a config one; the views have their own limits below this.
DEFAULT_MAX_BYTES = 16_000_000
DEFAULT_LIMIT = RequestLimit(DEFAULT_MAX_BYTES, f"A request may have at most {DEFAULT_MAX_BYTES:,} bytes.")
#: nginx's own limit of a head is 32 kB too.
MAX_HEADERS = 100
MAX_HEAD_BYTES = 32_000
#: A body that is on its way may pause for this long, and must be faster than this on the whole.
PAUSE_SECONDS = 30.0
MIN_BYTES_PER_SECOND = 10_000
#: Half-sent requests of one address, in all web processes of this machine: each may hold 2.5 MB of memory.
MAX_ARRIVING = max(1, 100 // settings.WEB_PROCESSES)
#: A client that is cut off while it sends doesn't read the answer, so it may go on within these limits.
LINGER_SECONDS = 20.0
LINGER_BYTES = 1_000_000_000

DISCONNECT: Message = {"type": "http.disconnect"}


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str
    detail: str
    #: Whether the client is sending, and reads the answer only when it is done.
    is_sending: bool = False
    retry_after: int = 0


TOO_SLOW = Refusal(
    408,
    "request_timeout",
    f"The request arrived too slowly: a body can pause for {PAUSE_SECONDS:.0f} seconds, and must have at least "
    f"{MIN_BYTES_PER_SECOND:,} bytes per second on average.",
)
TOO_MANY = Refusal(
    429,
    "too_many_requests",
    f"{MAX_ARRIVING} unfinished requests come from your address, the maximum. Finish some, or wait.",
    is_sending=True,
    retry_after=int(PAUSE_SECONDS),
)
HEAD_TOO_LARGE = Refusal(
    431,
    "headers_too_large",
    f"A request may have at most {MAX_HEADERS} headers with {MAX_HEAD_BYTES:,} bytes together.",
    is_sending=True,
)


class BodyLimit:
    def __init__(self, app: Any) -> None:
        self.app: App = app
        #: By address, how many bodies are waited for.
        self._arriving: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 408, 413, 429, 431 or 507 in the contract's shape."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = await self._pass_on(scope, receive, send)
        if refusal is not None:
            await refuse(scope, receive, send, refusal)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> Refusal | None:
        """Have the application answer; or return why it may not."""
        if _is_head_too_large(scope):
            return HEAD_TOO_LARGE
        limit = request_limits.get(scope["path"], DEFAULT_LIMIT)
        too_large = Refusal(413, "too_large", limit.refusal, is_sending=True)
        declared = _declared(scope)
        if declared > limit.max_bytes:
            return too_large
        client = scope["client"][0] if scope.get("client") else ""
        has_body = declared > 0 or bool(_header(scope, "transfer-encoding"))
        body = _Body(limit.max_bytes, too_large, receive, send, self._arriving, client, has_arrived=not has_body)
        try:
            await self.app(scope, body.receive, body.send)
        except OSError as error:
            failure = noted_failure(error)
            if failure is None or body.answered:
                raise
            wait = failure.retry_after or 0
            return Refusal(failure.status, failure.code, failure.detail, is_sending=True, retry_after=wait)
        return None if body.answered else body.refusal


@dataclass(slots=True)
class _Body:
    """A body as it arrives. Once it is refused, the application sees a disconnect."""

    max_bytes: int
    too_large: Refusal
    upstream: Receive
    downstream: Send
    arriving: Counter[str]
    client: str
    has_arrived: bool
    answered: bool = False
    refusal: Refusal | None = None
    received: int = 0
    began: float = field(default_factory=monotonic)

    async def receive(self) -> Message:
        if self.refusal is not None:
            return DISCONNECT
        if self.has_arrived:
            return await self.upstream()
        message = await self._next()
        if message is None:
            return DISCONNECT
        self.received += len(message.get("body", b""))
        if self.received > self.max_bytes:
            self.refusal = self.too_large
            return DISCONNECT
        self.has_arrived = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def _next(self) -> Message | None:
        """Wait for the next piece; None, and `refusal` is set: it doesn't come, or too many are waited for."""
        self.arriving[self.client] += 1
        try:
            if self.arriving[self.client] > MAX_ARRIVING:
                self.refusal = TOO_MANY
                return None
            async with asyncio.timeout(self._patience()):
                return await self.upstream()
        except TimeoutError:
            self.refusal = TOO_SLOW
            return None
        finally:
            self.arriving[self.client] -= 1
            if not self.arriving[self.client]:
                del self.arriving[self.client]

    def _patience(self) -> float:
        """Return the seconds in which the next piece must be there."""
        left = self.began + PAUSE_SECONDS + self.received / MIN_BYTES_PER_SECOND - monotonic()
        return min(PAUSE_SECONDS, max(left, 0.0))

    async def send(self, message: Message) -> None:
        self.answered = True
        await self.downstream(message)


def _is_head_too_large(scope: Scope) -> bool:
    headers = scope["headers"]
    return len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES


def _header(scope: Scope, name: str) -> str:
    raw_name = name.lower().encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == raw_name), "")


def _declared(scope: Scope) -> int:
    length = _header(scope, "content-length")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


async def refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer in the contract's shape; to one who still sends, only after reading on for a while: then it is read."""
    with correlation(id_of_request(_header(scope, HEADER))) as correlation_id:
        extra = {"path": scope["path"], "bytes": _declared(scope), "code": refusal.code}
        logger.info("Request refused while it arrived", extra=extra)
        body = json.dumps(error_body(refusal.detail, refusal.code)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (HEADER.lower().encode(), correlation_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if refusal.retry_after:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if refusal.is_sending:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _drain(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
