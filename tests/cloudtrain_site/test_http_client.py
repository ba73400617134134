"""The outbound client, against a real server on the loopback address."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.http_client import (
    clear_correlation_id,
    get_async_client,
    get_correlation_id,
    reason_of,
    set_correlation_id,
    was_never_sent,
)
from tests.cloudtrain_site.conftest import Lines


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it was sent; `/elsewhere` sends the caller to `/`, `/slow` never answers."""

    protocol_version = "HTTP/1.1"
    never = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.never.wait()
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(302 if self.path == "/elsewhere" else 200)
        self.send_header("Location", "/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes many at once: beyond its own queue of five, a connection is tried again after one, three, seven seconds."""

    request_queue_size = 64


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Echo) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        Echo.never.set()
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_id() -> Iterator[None]:
    clear_correlation_id()
    yield
    clear_correlation_id()


async def sent_id(client: httpx.AsyncClient, url: str, **options: Any) -> str:
    response = await client.get(url, **options)
    return str(response.json()["x-correlation-id"])


def test_the_id_goes_out_with_every_request(server: str) -> None:
    async def ask() -> str:
        set_correlation_id("abc123")
        async with get_async_client() as client:
            return await sent_id(client, server)

    assert asyncio.run(ask()) == "abc123"


def test_without_one_it_sends_the_id_that_it_makes(server: str) -> None:
    async def ask() -> bool:
        async with get_async_client() as client:
            return await sent_id(client, server) == get_correlation_id()

    assert asyncio.run(ask())


def test_a_client_that_outlives_the_work_sends_the_id_of_the_work_at_hand(server: str) -> None:
    async def ask() -> list[str]:
        sent = []
        async with get_async_client() as client:
            for name in ("first", "second"):
                with correlation(name):
                    sent.append(await sent_id(client, server))
        return sent

    assert asyncio.run(ask()) == ["first", "second"]


def test_fifty_requests_at_once_each_send_their_own(server: str) -> None:
    async def ask(client: httpx.AsyncClient, name: str) -> str:
        with correlation(name):
            return await sent_id(client, server)

    async def ask_all() -> list[str]:
        async with get_async_client() as client:
            return list(await asyncio.gather(*(ask(client, f"work-{number}") for number in range(50))))

    assert asyncio.run(ask_all()) == [f"work-{number}" for number in range(50)]


def test_a_redirected_request_keeps_it_and_has_no_body(server: str) -> None:
    async def ask() -> dict[str, str]:
        async with get_async_client(follow_redirects=True) as client:
            with correlation("abc123"):
                return dict((await client.get(f"{server}/elsewhere")).json())

    sent = asyncio.run(ask())
    assert sent["x-correlation-id"] == "abc123"
    assert "transfer-encoding" not in sent


def test_a_header_of_the_caller_wins(server: str) -> None:
    async def ask() -> str:
        async with get_async_client() as client:
            return await sent_id(client, server, headers={"X-Correlation-ID": "mine"})

    assert asyncio.run(ask()) == "mine"


def test_options_are_httpxs_own(server: str) -> None:
    seen: list[str] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request.headers["X-Correlation-ID"])

    async def ask() -> dict[str, str]:
        options: dict[str, Any] = {"base_url": server, "headers": {"X-Own": "1"}, "event_hooks": {"request": [note]}}
        async with get_async_client(**options) as client:
            with correlation("abc123"):
                return dict((await client.get("/")).json())

    assert asyncio.run(ask())["x-own"] == "1"
    assert seen == ["abc123"]


def test_one_loop_after_the_other_may_have_a_client(server: str) -> None:
    async def ask() -> str:
        async with get_async_client() as client:
            with correlation("abc123"):
                return await sent_id(client, server)

    assert [asyncio.run(ask()) for _ in range(3)] == ["abc123"] * 3


def test_a_server_that_does_not_answer_times_out(server: str) -> None:
    async def ask() -> None:
        async with get_async_client(timeout=httpx.Timeout(5.0, read=0.05)) as client:
            await client.get(f"{server}/slow")

    with pytest.raises(httpx.TimeoutException):
        asyncio.run(ask())


def test_a_port_that_nobody_listens_on_is_httpxs_error_with_the_systems_reason() -> None:
    async def ask() -> None:
        async with get_async_client() as client:
            await client.get("http://127.0.0.1:1/")

    with pytest.raises(httpx.TransportError) as caught:
        asyncio.run(ask())
    assert isinstance(caught.value, httpx.RequestError)
    assert was_never_sent(caught.value)
    assert reason_of(caught.value) == "Connection refused"


def test_the_clients_own_line_is_masked_and_has_the_id(server: str, log_lines: Lines) -> None:
    async def ask() -> None:
        async with get_async_client() as client:
            with correlation("abc123"):
                await client.get(f"{server}/v1?token=MARK&limit=3")

    asyncio.run(ask())
    (line,) = [line for line in log_lines() if line["logger"] == "httpx"]
    assert line["message"] == f'HTTP Request: GET {server}/v1?token=***&limit=3 "HTTP/1.1 200 OK"'
    assert (line["level"], line["correlation_id"]) == ("INFO", "abc123")
