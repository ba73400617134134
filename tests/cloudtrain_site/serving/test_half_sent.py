"""Requests that arrive slowly, in part, in great number or with a large head, sent by hand to the real server."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import User

from cloudtrain_site.serving import body_limit, http_protocol
from tests.cloudtrain_site.conftest import Lines
from tests.cloudtrain_site.event_factory import store_event
from tests.wait import PATIENCE_SECONDS, wait_until
from tests.web import open_stream

LOGIN = "POST /login HTTP/1.1"
PROBE = "/api/cloud/health/live"


@contextmanager
def connected(url: str, *pieces: bytes) -> Iterator[socket.socket]:
    """A connection on which `pieces` were sent."""
    address = urlsplit(url)
    with closing(socket.create_connection((address.hostname, address.port), PATIENCE_SECONDS)) as connection:
        for piece in pieces:
            connection.sendall(piece)
        yield connection


def head_of(url: str, first: str, **headers: str) -> bytes:
    lines = [first, f"Host: {urlsplit(url).netloc}", *(f"{name.replace('_', '-')}: {v}" for name, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer_on(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    text = b""
    while piece := connection.recv(65536):
        text += piece
    return text


def outlast(seconds: float) -> None:
    """Return when so much time is over."""
    ends_at = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > ends_at)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for longer than half a second."""
    monkeypatch.setattr(body_limit, "PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(body_limit, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
class TestBodies:
    @pytest.mark.parametrize("path", ["/login", "/api/cloud/uploads", "/api/webhooks/replicate"])
    def test_one_that_does_not_arrive_is_answered_408_and_closed(self, web_server: str, path: str) -> None:
        head = head_of(web_server, f"POST {path} HTTP/1.1", Content_Length="100")
        with connected(web_server, head, b"username=al") as connection:
            top, _, body = answer_on(connection).partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["code"] == "request_timeout"
        assert set(json.loads(body)) == {"detail", "code", "correlation_id"}

    def test_one_of_unknown_length_too(self, web_server: str) -> None:
        head = head_of(web_server, LOGIN, Transfer_Encoding="chunked")
        with connected(web_server, head, b"5\r\nuser=\r\n") as connection:
            assert answer_on(connection).startswith(b"HTTP/1.1 408 ")

    def test_one_that_trickles_in_is_ended_though_it_never_pauses(
        self, web_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body_limit, "MIN_BYTES_PER_SECOND", 10**9)
        head = head_of(web_server, LOGIN, Content_Length="1000000")
        with connected(web_server, head) as connection:
            connection.settimeout(0.1)
            answer = b""
            for _ in range(100):
                connection.sendall(b"x")
                try:
                    answer = connection.recv(65536)
                    break
                except TimeoutError:
                    continue
        assert answer.startswith(b"HTTP/1.1 408 ")

    def test_one_that_arrives_in_time_is_taken_though_it_took_longer_than_a_pause(
        self, web_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body_limit, "MIN_BYTES_PER_SECOND", 1)
        pieces = iter([b"username=", b"alice&", b"password=", b"wrong"])
        monotonic = iter(range(1000))
        monkeypatch.setattr(body_limit, "monotonic", lambda: next(monotonic))

        answer = httpx.post(f"{web_server}/login", content=pieces)
        assert answer.status_code == 403  # no token of a form: Django has read it

    def test_what_came_is_logged_and_nothing_is_waited_for_any_more(self, web_server: str, log_lines: Lines) -> None:
        with connected(web_server, head_of(web_server, LOGIN, Content_Length="100")) as connection:
            answer_on(connection)
        [line] = [line for line in log_lines() if line["message"].startswith("Request refused")]
        assert (line["extra"]["code"], line["extra"]["path"]) == ("request_timeout", "/login")


class TestManyOfOneAddress:
    def test_more_than_its_share_are_refused_and_whole_requests_are_answered(
        self, web_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body_limit, "MAX_ARRIVING", 3)
        monkeypatch.setattr(body_limit, "LINGER_SECONDS", 0.1)
        monkeypatch.setattr(body_limit, "PAUSE_SECONDS", 5.0)
        half = head_of(web_server, LOGIN, Content_Length="100")
        with ExitStack() as stack:
            waiting = [stack.enter_context(connected(web_server, half)) for _ in range(3)]
            wait_until(lambda: is_refused(web_server, half))
            with connected(web_server, half) as connection:
                answer = answer_on(connection)
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert re.search(rb"retry-after: 30\r\n", answer)
            assert httpx.get(f"{web_server}{PROBE}").status_code == 200
            waiting[0].sendall(b"x" * 100)
            assert waiting[0].recv(65536).startswith(b"HTTP/1.1 403 ")
            assert httpx.post(f"{web_server}/login", content=b"x").status_code == 403


def is_refused(url: str, half: bytes) -> bool:
    """Whether one more is refused by now: those before it may not have been looked at yet."""
    with connected(url, half) as connection:
        connection.settimeout(0.3)
        try:
            return connection.recv(65536).startswith(b"HTTP/1.1 429 ")
        except TimeoutError:
            return False


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
class TestHeads:
    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "], ids=["nothing", "half"])
    def test_one_that_does_not_arrive_is_cut_off(self, web_server: str, sent: bytes) -> None:
        with connected(web_server, sent) as connection:
            assert answer_on(connection) == b""

    def test_half_of_a_second_one_is_cut_off_too(self, web_server: str) -> None:
        whole = head_of(web_server, f"GET {PROBE} HTTP/1.1")
        with connected(web_server, whole) as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.sendall(b"GET / HTTP/1.1\r\nX-Half: ")
            assert b"HTTP/1.1 " not in answer_on(connection)

    def test_a_connection_that_is_used_outlasts_the_limit(self, web_server: str) -> None:
        whole = head_of(web_server, f"GET {PROBE} HTTP/1.1")
        with connected(web_server) as connection:
            for _ in range(3):
                connection.sendall(whole)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
                outlast(0.3)

    def test_an_open_stream_outlasts_the_limit(self, web_server: str, alice: User) -> None:
        with open_stream(web_server, alice) as stream:
            outlast(0.8)
            store_event("news")
            assert stream.next().data["type"] == "news"

    @pytest.mark.parametrize(
        ("headers", "status"),
        [({f"X-{n}": "1" for n in range(90)}, 200), ({f"X-{n}": "1" for n in range(120)}, 431)],
        ids=["90 headers", "120 headers"],
    )
    def test_the_number_of_headers_is_limited(self, web_server: str, headers: dict[str, str], status: int) -> None:
        assert httpx.get(f"{web_server}{PROBE}", headers=headers).status_code == status

    @pytest.mark.parametrize(("size", "status"), [(30_000, 200), (33_000, 431)])
    def test_their_size_is_limited(self, web_server: str, size: int, status: int) -> None:
        answer = httpx.get(f"{web_server}{PROBE}", headers={"X-Large": "x" * size})
        assert answer.status_code == status
        assert status == 200 or answer.json()["code"] == "headers_too_large"
