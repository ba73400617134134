"""Refuse requests that name no host: what ALLOWED_HOSTS is compared with would be our own address."""

from __future__ import annotations

from typing import Any

from cloudtrain_site.serving.asgi_types import App, Receive, Scope, Send
from cloudtrain_site.serving.body_limit import Refusal, refuse

#: Load balancers probe by HTTP/1.0, which knows no Host.
PROBES = ("/api/cloud/health/live", "/api/cloud/health/ready")
NO_HOST = Refusal(400, "bad_request", "The request has no Host header.", is_sending=True)


class HostRequired:
    def __init__(self, app: Any) -> None:
        self.app: App = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400 in the contract's shape."""
        is_named = scope["type"] != "http" or any(name == b"host" and value for name, value in scope["headers"])
        if is_named or (scope["http_version"] == "1.0" and scope["path"] in PROBES):
            await self.app(scope, receive, send)
        else:
            await refuse(scope, receive, send, NO_HOST)
