"""Responses that go on after Django has let go of their request.

Until the last byte is sent Django keeps the request, its session, its user, the frames of its middleware and a thread
of its own. That is 45 kB for each open event stream, and a thousand threads when a thousand clients leave at once. A
view that has much time ahead leaves word of what is still to be sent; it is sent when Django is done with the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cloudtrain_site.serving.asgi_types import App, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from django.http import HttpRequest

#: Sends the whole body of a response, as an ASGI application would.
Body: TypeAlias = Callable[[Receive, Send], Awaitable[None]]

EXTENSION = "cloudtrain.long_response"


class DeferredResponses:
    """An ASGI application in front of Django's."""

    def __init__(self, app: Any) -> None:
        self.app: App = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have Django answer; then send the body that a view has promised, if one has."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await self._answer(scope, receive, send)
        if body is not None:
            await body(receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Body | None:
        """Send Django's answer; of a long one the head, and return what sends its body. Nothing else is kept of it."""
        answer = _Answer(send)
        extensions = {**(scope.get("extensions") or {}), EXTENSION: answer}
        await self.app({**scope, "extensions": extensions}, receive, answer.send)
        if answer.body is None or answer.head is None:
            return None
        await send(answer.head)
        return answer.body


@dataclass(slots=True)
class _Answer:
    """What Django sends, up to the head of a response whose body comes later."""

    downstream: Send
    body: Body | None = None
    head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            self.body = None  # something else became of the request after the view had promised it
        if self.body is None:
            await self.downstream(message)
        elif message["type"] == "http.response.start":
            # Django counted what its own response holds, which is nothing.
            headers = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
            self.head = {**message, "headers": headers}


def send_later(request: HttpRequest, body: Body) -> bool:
    """Have `body` sent after the empty response, of status 200, that the view returns. False: that can't be done here.

    It can where `DeferredResponses` stands in front of Django, which is wherever we serve.
    """
    answer = getattr(request, "scope", {}).get("extensions", {}).get(EXTENSION)
    if answer is None:
        return False
    answer.body = body
    return True
