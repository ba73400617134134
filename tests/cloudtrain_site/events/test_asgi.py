"""Streams that are opened in front of Django: the same answers as Django's, and all other requests are Django's."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from unittest.mock import Mock

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.models import User
from django.core.signals import got_request_exception
from django.db import OperationalError, connections

from cloudtrain_site.events import asgi
from cloudtrain_site.events.asgi import StreamEndpoint
from cloudtrain_site.events.relay import open_streams
from cloudtrain_site.serving.asgi_stack import behind_fronts
from cloudtrain_site.serving.asgi_types import Message, Receive, Scope, Send
from cloudtrain_site.serving.deferred_responses import DeferredResponses
from cloudtrain_site.serving.one_thread import OneThreadHandler
from tests.limits import SetLimits
from tests.web import session_cookies, wait_until

HOST, COOKIE = (b"host", b"localhost"), (b"cookie", b"sessionid=0123456789abcdef")


def scope_of(*headers: tuple[bytes, bytes], query: bytes = b"", **changes: Any) -> Scope:
    plain = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": asgi.PATH}
    return {**plain, "query_string": query, "headers": list(headers), "scheme": "http", "root_path": "", **changes}


async def visitor_of(scope: Scope) -> asgi._Visitor | None:
    return asgi._visitor_of(scope)


def test_a_browser_names_its_session_its_page_and_its_last_event() -> None:
    query = b"reader=7&lastEventId=3"
    visitor = asyncio.run(visitor_of(scope_of(HOST, COOKIE, query=query)))
    assert visitor is not None
    candidate = visitor.candidate
    assert (candidate.session_key, candidate.page_owner, candidate.last_id) == ("0123456789abcdef", "7", "3")
    visitor = asyncio.run(visitor_of(scope_of(HOST, COOKIE, (b"last-event-id", b"5"), query=query)))
    assert visitor is not None
    assert visitor.candidate.last_id == "5"


@pytest.mark.parametrize(
    "scope",
    [
        scope_of(HOST, COOKIE, method="POST"),
        scope_of(HOST, COOKIE, path="/api/events/"),
        scope_of(HOST, COOKIE, root_path="/api"),
        scope_of(HOST),
        scope_of(HOST, (b"cookie", b"sessionid=short")),
        scope_of(HOST, (b"cookie", b"sessionid=%s" % (b"a" * 41))),
        scope_of(HOST, (b"cookie", b"sessionid=0123456789\x00")),
        scope_of((b"host", b"evil.example"), COOKIE),
        *(scope_of(HOST, COOKIE, (name, b"x")) for name in (b"authorization", b"x-api-key", b"x-reader")),
        *(scope_of(HOST, COOKIE, pair) for pair in ((b"x-cloudtrain-doctor", b"x"), (b"content-length", b"1"))),
        scope_of(HOST, COOKIE, (b"transfer-encoding", b"chunked")),
        *(
            scope_of(HOST, COOKIE, query=query)
            for query in (b"other=1", b"reader=%00", b"reader=x", b"reader", b"\xff")
        ),
    ],
    ids=str,
)
def test_any_other_request_is_djangos(scope: Scope) -> None:
    assert asyncio.run(visitor_of(scope)) is None


def test_one_without_tls_is_djangos_where_that_is_demanded(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert asyncio.run(visitor_of(scope_of(HOST, COOKIE))) is None
    assert asyncio.run(visitor_of(scope_of(HOST, COOKIE, scheme="https"))) is not None


class Reader:
    """A client that leaves when it has got the head and the greeting."""

    def __init__(self) -> None:
        self.has_asked, self.gone = False, asyncio.Event()
        self.status, self.body = 0, b""
        self.headers: dict[str, str] = {}

    async def receive(self) -> Message:
        if not self.has_asked:
            self.has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        self.body += message.get("body", b"")
        if self.body:
            self.gone.set()

    async def ask(self, site: Any, scope: Scope) -> Reader:
        await site(scope, self.receive, self.send)
        return self


async def _djangos(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Django."""
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"of Django"})


@pytest.fixture
def browser(transactional_db: None, alice: User) -> tuple[bytes, bytes]:
    """The cookie of a browser in which alice is signed in, after its first page."""
    key = session_cookies(alice)[settings.SESSION_COOKIE_NAME]
    UserSession.objects.create(session_key=key, user=alice, ip="127.0.0.1")
    return (b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode())


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    own = ("code", "request", "user_id", "correlation_id")
    lines = [record for record in caplog.records if record.getMessage() == "request_finished"]
    return [{name: getattr(line, name, None) for name in own} for line in lines]


@pytest.mark.slow
def test_the_answer_and_the_line_in_the_log_are_djangos(
    browser: tuple[bytes, bytes],
    alice: User,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.SECURE_HSTS_SECONDS = 60
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # as the fixture web_server does
    scope = scope_of(HOST, browser, (b"x-correlation-id", b"abc"), query=b"reader=%d" % alice.pk, scheme="https")
    caplog.set_level(logging.INFO)
    front = asyncio.run(Reader().ask(DeferredResponses(StreamEndpoint(_djangos)), scope))
    settings.FRONTS = []
    django = asyncio.run(Reader().ask(behind_fronts(OneThreadHandler()), scope))
    assert front.status == django.status == 200
    assert front.headers == django.headers
    assert front.headers["x-correlation-id"] == "abc"
    assert front.body.startswith(b"retry: 2000\nevent: stream-open\n")
    first, second = lines_of(caplog)
    assert first == second
    assert first["user_id"] == alice.pk
    wait_until(lambda: open_streams() == 0)


async def statuses_of(*scopes: Scope) -> list[int]:
    """What so many clients get who ask at once."""
    site = DeferredResponses(StreamEndpoint(_djangos))
    return [reader.status for reader in await asyncio.gather(*(Reader().ask(site, scope) for scope in scopes))]


@pytest.mark.slow
def test_of_many_each_gets_what_is_theirs(
    browser: tuple[bytes, bytes],
    set_limits: SetLimits,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_limits(streams=50)
    both = [scope_of(HOST, browser), scope_of(HOST, COOKIE)]
    assert asyncio.run(statuses_of(*both * asgi.ADMITTED_AT_ONCE)) == [200, 418] * asgi.ADMITTED_AT_ONCE
    wait_until(lambda: open_streams() == 0)
    for error, is_told in ((OperationalError("the database is away"), False), (ValueError("a mistake"), True)):
        monkeypatch.setattr(asgi, "admit", Mock(side_effect=error))
        assert asyncio.run(statuses_of(*both)) == [418, 418]
        assert ("each asks by itself" in caplog.text) == is_told


def test_an_error_in_a_view_is_told_by_django_alone() -> None:
    before = got_request_exception._live_receivers(None)
    endpoint = StreamEndpoint(_djangos)
    assert endpoint.app is _djangos  # and alive
    assert got_request_exception._live_receivers(None) == before
