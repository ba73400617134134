"""Signed webhooks, sent as Replicate sends them: throttled, in order, and only the last one more than once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import secrets
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp

from examples.fake_replicate.faults import WEBHOOKS, Faults
from examples.fake_replicate.predictions import Prediction, live_body
from examples.fake_replicate.times import stamp

THROTTLED = ("output", "logs")
PAUSES = (1, 2, 4, 8, 16, 29)
TOO_OLD_SECONDS = 600
REMEMBERED = 100_000

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


def make_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(24)).decode()


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The `webhook-signature` of one message, as Standard Webhooks defines it."""
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signed_headers(secret: str, message_id: str, body: bytes, *, age: float = 0) -> dict[str, str]:
    """The three headers of a message that was sent `age` seconds ago."""
    timestamp = str(int(time.time() - age))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }


@dataclass(frozen=True)
class Message:
    """What is to be told, and how it is spoilt. The id stays the same whenever it is tried again."""

    prediction: str
    event: str
    address: str
    body: bytes
    spoilt: frozenset[str]
    id: str = field(default_factory=lambda: f"msg_{secrets.token_urlsafe(18)}")


@dataclass(frozen=True)
class Delivery:
    """One attempt. `status` is None when nobody answered, or when it was lost on purpose."""

    message: str
    prediction: str
    event: str
    status: int | None
    spoilt: frozenset[str]


class Webhooks:
    """Sends the webhooks of one account."""

    def __init__(self, faults: Faults, spawn: Spawn) -> None:
        self.faults = faults
        self.spawn = spawn
        self.secret = make_secret()
        self.base = ""
        self.deliveries: deque[Delivery] = deque(maxlen=REMEMBERED)
        self._client: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def notify(self, prediction: Prediction, event: str) -> None:
        """Send what `prediction` is now, if it has a webhook that asked for `event`."""
        if not prediction.webhook or event not in prediction.events or not self._may(prediction, event):
            return
        spoilt = frozenset(rule.kind for rule in self.faults.draw(WEBHOOKS, event))
        message = Message(prediction.id, event, prediction.webhook, self._body(prediction), spoilt)
        if "reorder" in spoilt:
            self.spawn(self._send_late(message))
        else:
            # Each waits for the one before, so that those of one prediction stay in order.
            prediction.outbox = self.spawn(self._send_after(prediction.outbox, message))

    def _may(self, prediction: Prediction, event: str) -> bool:
        if event not in THROTTLED:
            return True
        now = time.monotonic()
        if now - prediction.last_sent_at.get(event, -math.inf) < self.faults.webhook_throttle_seconds:
            return False
        prediction.last_sent_at[event] = now
        return True

    def _body(self, prediction: Prediction) -> bytes:
        body = live_body(prediction, self.base, self.faults)
        body |= {"created_at": stamp(prediction.created_ns, 3), "metrics": prediction.metrics(total=False)}
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    async def _send_after(self, earlier: asyncio.Task[None] | None, message: Message) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        await self._send(message)

    async def _send_late(self, message: Message) -> None:
        await asyncio.sleep(self.faults.webhook_reorder_seconds)
        await self._send(message)

    async def _send(self, message: Message) -> None:
        for _ in range(2 if "duplicate" in message.spoilt else 1):
            accepted = await self._try(message)
        if not accepted and message.event == "completed" and "lose" not in message.spoilt:
            await self._insist(message)

    async def _insist(self, message: Message) -> None:
        for pause in PAUSES:
            await asyncio.sleep(pause * self.faults.webhook_retry_seconds)
            if await self._try(message):
                return

    async def _try(self, message: Message) -> bool:
        """One attempt. False means that it is worth another: nobody there, or an error; a redirect is not."""
        status = None if "lose" in message.spoilt else await self._post(message)
        self.deliveries.append(Delivery(message.id, message.prediction, message.event, status, message.spoilt))
        return status is not None and status < 400

    async def _post(self, message: Message) -> int | None:
        if self._client is None:
            self._client = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        address = message.address
        if "redirected" in message.spoilt:
            address = f"{self.base}/_fake/moved?{urlencode({'to': address})}"
        headers = {"Content-Type": "application/json", "User-Agent": "Replicate/1.0"} | self._headers(message)
        timeout = aiohttp.ClientTimeout(total=self.faults.webhook_timeout_seconds)
        try:
            async with self._client.post(
                address, data=message.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    def _headers(self, message: Message) -> dict[str, str]:
        if "unsigned" in message.spoilt:
            return {}
        secret = make_secret() if "badly_signed" in message.spoilt else self.secret
        age = TOO_OLD_SECONDS if "too_old" in message.spoilt else 0
        return signed_headers(secret, message.id, message.body, age=age)
