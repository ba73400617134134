"""A body that is sent after Django has let go of the request."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIRequest

from cloudtrain_site.serving.asgi_types import Message, Receive, Send
from cloudtrain_site.serving.deferred_responses import Body, DeferredResponses, send_later

SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
HEADERS = [(b"Content-Length", b"0"), (b"X-Of-A-Middleware", b"here")]


class Site:
    """Stands for Django: one view that promises a body, and what became of its response."""

    def __init__(self, body: Body | None, status: int = 200) -> None:
        self.body, self.status = body, status
        self.is_done = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if self.body is not None:
            assert send_later(ASGIRequest(scope, BytesIO()), self.body)
        await send({"type": "http.response.start", "status": self.status, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"of Django"})
        self.is_done = True


def answer_of(site: Site) -> list[Message]:
    """What a server is sent."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(DeferredResponses(site)(SCOPE, receive, send))
    return sent


def test_the_promised_body_follows_when_django_is_done() -> None:
    async def body(receive: Receive, send: Send) -> None:
        assert site.is_done
        await send({"type": "http.response.body", "body": b"much later"})

    site = Site(body)

    head, rest = answer_of(site)
    assert head["headers"] == [(b"X-Of-A-Middleware", b"here")]
    assert rest["body"] == b"much later"


def test_what_a_middleware_made_of_the_response_wins() -> None:
    async def body(receive: Receive, send: Send) -> None:
        raise AssertionError("it was promised to somebody else")

    head, rest = answer_of(Site(body, status=500))
    assert (head["status"], head["headers"], rest["body"]) == (500, HEADERS, b"of Django")


def test_other_responses_pass_as_they_are() -> None:
    head, rest = answer_of(Site(None))
    assert (head["headers"], rest["body"]) == (HEADERS, b"of Django")


def test_nothing_can_be_promised_where_nobody_would_send_it() -> None:
    async def body(receive: Receive, send: Send) -> None: ...

    assert not send_later(ASGIRequest(SCOPE, BytesIO()), body)
