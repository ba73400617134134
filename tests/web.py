"""The real web server in a thread, on the test database; and a client for its event stream."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cloudtrain_site.serving.asgi_stack import behind_fronts
from cloudtrain_site.serving.http_protocol import PatientProtocol
from cloudtrain_site.serving.one_thread import OneThreadHandler
from cloudtrain_site.web import behind_proxies
from tests.wait import PATIENCE_SECONDS as PATIENCE_SECONDS
from tests.wait import wait_until as wait_until


class Server(uvicorn.Server):
    """Looks ten times as often as the library's own whether it is to stop: most tests wait for that twice."""

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            await asyncio.sleep(0.01)
            counter = (counter + 1) % 10


@pytest.fixture
def web_server(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that runs while the test does, with no slash at its end."""
    # A kept connection would outlive its request's thread, and then keep the test database from being dropped.
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    with running_server() as url:
        yield url


@contextmanager
def running_server(port: int = 0) -> Iterator[str]:
    """Serve the site from a thread until the block ends. Streams that are open then are cut after a second.

    `port` 0: one that is free.
    """
    site = behind_proxies(behind_fronts(OneThreadHandler()))
    config = uvicorn.Config(
        site,
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
        http=PatientProtocol,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    thread = threading.Thread(target=server.run, name="web-server")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the web server did not stop"


def body_of(response: Any) -> bytes:
    """The whole body of an answer that the test client got, streamed or not."""
    if not response.streaming:
        return bytes(response.content)
    return async_to_sync(_collected)(response) if response.is_async else b"".join(response)


async def _collected(response: Any) -> bytes:
    return b"".join([piece async for piece in response])


def session_cookies(user: User) -> dict[str, str]:
    """The cookies of a browser in which `user` is logged in."""
    browser = Client()
    browser.force_login(user)
    return {name: morsel.value for name, morsel in browser.cookies.items()}


@dataclass(frozen=True)
class Message:
    """One event as an EventSource would dispatch it."""

    event: str
    id: str | None
    data: Any


class EventStream:
    """An open event stream, read one message at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id: str | None = None
        self._lines = response.iter_lines()

    def lines(self) -> Iterator[str]:
        """The raw lines, until the server ends the stream."""
        return self._lines

    def next(self, event: str = "message") -> Message:
        """The next `event`; others are passed over. Raises StopIteration when the stream ended instead."""
        while True:
            message = self._next_of_any_kind()
            if message.event == event:
                return message

    def rest(self) -> list[Message]:
        """Every message until the server ends the stream."""
        messages = []
        while True:
            try:
                messages.append(self.next())
            except StopIteration:
                return messages

    def _next_of_any_kind(self) -> Message:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line and not line.startswith(":"):
                name, _, fields[name] = line.partition(": ")
            elif not line:
                # An id counts even without data, as the standard has it.
                self.last_id = fields.get("id", self.last_id)
                if "data" in fields:
                    return Message(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
                fields = {}
        raise StopIteration


@contextmanager
def open_stream(
    url: str, user: User, *, last_id: object = None, query: str = "", cookies: dict[str, str] | None = None
) -> Iterator[EventStream]:
    """`user`'s stream from the server at `url`, once the server has greeted. `cookies`: those of a certain browser."""
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    with (
        httpx.Client(cookies=cookies or session_cookies(user), headers=headers, timeout=PATIENCE_SECONDS) as client,
        client.stream("GET", f"{url}/api/events{query}") as response,
    ):
        assert response.status_code == 200, response.read()
        stream = EventStream(response)
        stream.next("stream-open")
        yield stream


def read_page(user: User, address: str) -> str:
    """The page at that address as `user` gets it, each run of white space as one blank."""
    client = Client()
    client.force_login(user)
    answer = client.get(address)
    assert answer.status_code == 200
    return with_single_blanks(answer.content.decode())


def queries_of(client: Client, address: str) -> int:
    """The number of queries that a good answer took; the second one, since the first may make rows that all share."""
    assert client.get(address).status_code == 200
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def with_single_blanks(page: str) -> str:
    """The page with each run of white space as one blank, and none at the end of a tag, as a browser reads it."""
    return re.sub(r'" >', '">', re.sub(r"[ \n]+", " ", page))
