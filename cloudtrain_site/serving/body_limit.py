"""Ends a request that is too large while it arrives: Django would write all of it to disk first.

One that finds no room on that disk ends here too: Django writes it before any view or middleware is called.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

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
#: A client that is cut off while it sends doesn't read the answer, so it may go on within these limits.
LINGER_SECONDS = 20.0
LINGER_BYTES = 1_000_000_000


class BodyLimit:
    def __init__(self, app: Any) -> None:
        self.app: App = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 or 507 in the contract's shape."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = request_limits.get(scope["path"], DEFAULT_LIMIT)
        count = _Count(limit.max_bytes, receive, send)
        if _declared(scope) <= limit.max_bytes:
            try:
                await self.app(scope, count.receive, count.send)
            except OSError as error:
                failure = noted_failure(error)
                if failure is None or count.answered:
                    raise
                await _refuse(scope, receive, send, failure.status, error_body(failure.detail, failure.code))
                return
            if count.left >= 0 or count.answered:
                return
        await _refuse(scope, receive, send, 413, error_body(limit.refusal, "too_large"))


@dataclass
class _Count:
    """Counts the body as it arrives. At the first byte too many the application sees a disconnect."""

    left: int
    upstream: Receive
    downstream: Send
    answered: bool = False

    async def receive(self) -> Message:
        message = await self.upstream()
        self.left -= len(message.get("body", b""))
        return message if self.left >= 0 else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.answered = True
        await self.downstream(message)


def _header(scope: Scope, name: str) -> str:
    raw_name = name.lower().encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == raw_name), "")


def _declared(scope: Scope) -> int:
    length = _header(scope, "content-length")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, answer: dict[str, Any]) -> None:
    with correlation(id_of_request(_header(scope, HEADER))) as correlation_id:
        extra = {"path": scope["path"], "bytes": _declared(scope), "code": answer["code"]}
        logger.info("Request refused while it arrived", extra=extra)
        body = json.dumps({**answer, "correlation_id": correlation_id}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (HEADER.lower().encode(), correlation_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
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
