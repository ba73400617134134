"""The span of a web request, in front of Django and of the applications that answer instead of it."""

from __future__ import annotations

from django.conf import settings

from cloudtrain_site.correlation import id_of_request
from cloudtrain_site.correlation_ids import HEADER, correlation
from cloudtrain_site.serving.asgi_types import App, Message, Receive, Scope, Send
from cloudtrain_site.tracing.spans import note, span

_HEADER = HEADER.lower().encode()


class TracedRequests:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its correlation id already here, since its trace is named by it."""
        if scope["type"] != "http" or scope["path"].startswith(settings.STATIC_URL):
            await self.app(scope, receive, send)
            return
        sent = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None)
        correlation_id = id_of_request(sent)
        others = [pair for pair in scope["headers"] if pair[0] != _HEADER]
        scope = {**scope, "headers": [*others, (_HEADER, correlation_id.encode())]}
        method = scope["method"]
        with correlation(correlation_id), span(method, {"http.request.method": method}, kind="server"):
            await self.app(scope, receive, _noting(send))


def _noting(send: Send) -> Send:
    async def noting_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            note({"http.response.status_code": status}, failed=status >= 500)
        await send(message)

    return noting_send
