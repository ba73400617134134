"""Who a request's connection comes from, kept before a proxy's headers say who the client is."""

from __future__ import annotations

from typing import Any

from cloudtrain_site.serving.asgi_types import Receive, Scope, Send

#: Of the ASGI scope.
PEER = "cloudtrain.peer"
PEER_PORT = "cloudtrain.peer_port"


class KeepPeer:
    """To stand before everything that changes a scope's `client`."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER], scope[PEER_PORT] = scope.get("client") or ("", 0)
        await self.application(scope, receive, send)
