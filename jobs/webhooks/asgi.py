"""Answer deliveries in front of Django, whose middleware and threads cost more than their work.

Only deliveries of an ordinary size, and not too many at once, since they wait in memory: the others go to Django.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from csp.constants import HEADER as POLICY_HEADER
from csp.utils import build_policy

from cloudtrain_site.correlation import id_of_request
from cloudtrain_site.correlation_ids import HEADER, correlation
from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.errors import error_body
from cloudtrain_site.serving.asgi_types import App, Receive, Scope, Send
from cloudtrain_site.tracing.spans import note
from jobs.models.provider import WEBHOOK_PATH
from jobs.providers import find_kind
from jobs.providers.replicate.predictions import MARKER_PARAMETER
from jobs.webhooks import signing_secret
from jobs.webhooks.batcher import DeliveryBatcher
from jobs.webhooks.inbox import IncomingDelivery, WebhookRequest
from jobs.webhooks.views import response_to

logger = logging.getLogger("simpletuner.cloud.webhooks")

#: Of one delivery, and of all that wait at the same time.
MAX_BODY_BYTES = 1_000_000
MAX_WAITING_BYTES = 32_000_000
SERVER_ERROR = "Something went wrong on our side. The log has the details under this correlation id."
FIXED_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (POLICY_HEADER.lower().encode(), build_policy().encode()),
)


class WebhookEndpoint:
    def __init__(self, app: App) -> None:
        self.app = app
        self._batcher = DeliveryBatcher()
        self._waiting_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a delivery when it was applied, or in a burst when it is stored."""
        size = _size_of_delivery(scope)
        if size is None or size > MAX_BODY_BYTES or self._waiting_bytes + size > MAX_WAITING_BYTES:
            await self.app(scope, receive, send)
            return
        self._waiting_bytes += size
        try:
            body = await _read_body(receive)
            if body is not None:
                await self._answer(scope, body, send)
        finally:
            self._waiting_bytes -= size

    async def _answer(self, scope: Scope, body: bytes, send: Send) -> None:
        headers = _headers_of(scope)
        with correlation(id_of_request(headers.get(HEADER.lower()))) as correlation_id:
            note({}, name=f"POST {WEBHOOK_PATH}<provider>")
            status, payload = await self._process(_webhook_request(scope, headers, body))
        content = json.dumps(payload).encode()
        own = ((b"content-length", b"%d" % len(content)), (HEADER.lower().encode(), correlation_id.encode()))
        await send({"type": "http.response.start", "status": status, "headers": [*FIXED_HEADERS, *own]})
        await send({"type": "http.response.body", "body": content})

    async def _process(self, request: WebhookRequest) -> tuple[int, dict[str, Any]]:
        incoming = IncomingDelivery(request)
        try:
            if not signing_secret.is_known(request.provider):
                # All accounts' deliveries are processed in one thread, which must not wait for this one's answer.
                await asyncio.to_thread(signing_secret.fetch_beforehand, request.provider)
            await self._batcher.process(incoming)
            return response_to(incoming)
        except Exception as error:
            # As Django does it; the sender tries again.
            if failure := noted_failure(error):
                return failure.status, error_body(failure.detail, failure.code)
            logger.exception("Webhook could not be taken in")
            return 500, error_body(SERVER_ERROR, "server_error")


def _size_of_delivery(scope: Scope) -> int | None:
    """Return its length, which uvicorn enforces; None for another request, or one without a length."""
    if scope["type"] != "http" or not scope["path"].startswith(WEBHOOK_PATH) or scope["method"] != "POST":
        return None
    if find_kind(_provider_of(scope)) != "replicate":
        return None
    content_length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(content_length) if content_length.isdigit() and len(content_length) < 12 else None


def _provider_of(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(WEBHOOK_PATH)


def _headers_of(scope: Scope) -> Mapping[str, str]:
    """Return the headers by name in lower case; several of one name are joined, as Django does it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _webhook_request(scope: Scope, headers: Mapping[str, str], body: bytes) -> WebhookRequest:
    markers = parse_qs(scope["query_string"].decode("latin-1")).get(MARKER_PARAMETER, [""])
    sender = scope["client"][0] if scope.get("client") else ""
    return WebhookRequest(headers, body, sender, markers[-1][:40], _provider_of(scope))


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body; None when the sender disconnects."""
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)
