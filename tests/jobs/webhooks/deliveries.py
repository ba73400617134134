"""Deliveries of webhooks, as the tests make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from jobs.models import Job
from jobs.webhooks import inbox

Deliver = Callable[..., int]
URL = "/api/webhooks/replicate"
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
MARKER = "ct-" + "0123456789ab" * 2


def sign(body: bytes, secret: str = SECRET, at: float | None = None, delivery: str = "msg_1") -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(signed).decode()}"
    return {"webhook-id": delivery, "webhook-timestamp": stamp, "webhook-signature": signature}


def body_of(job: Job, status: str = "processing", **fields: Any) -> bytes:
    return json.dumps({"id": job.external_id, "status": status, **fields}).encode()


def incoming(body: bytes, secret: str, delivery: str) -> inbox.IncomingDelivery:
    return inbox.IncomingDelivery(inbox.WebhookRequest(sign(body, secret, delivery=delivery), body, "127.0.0.1"))
