"""The correlation id follows a request through its views, streams, errors and log lines, and never another's."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from cloudtrain_site import errors
from cloudtrain_site.correlation_ids import (
    command_correlation,
    correlation,
    current_correlation_id,
    is_valid_correlation_id,
    process_correlation_id,
)
from cloudtrain_site.http_client import clear_correlation_id, get_correlation_id, set_correlation_id
from cloudtrain_site.structured_logging import LogContext, get_logger
from tests.cloudtrain_site.conftest import Lines
from tests.web import running_server, wait_until

MADE = re.compile(r"[0-9a-f]{12}")
BAD_VALUES = ["x" * 129, "x" * 10_000, "a b", "a\nb", "a\0b", "😀", "é", "a,b", "a/b", '"', "<a>", " "]
BAD_BYTES = [
    *(b"X-Correlation-ID: " + value for value in (b"x" * 10_000, "😀".encode(), b"a b", b"a;b")),
    b"X-Correlation-ID: one\r\nX-Correlation-ID: two",
]
REFUSED_BYTES = [b"X-Correlation-ID: a\0b", b"X-Correlation-ID: a\r\n\tb", b"X-Correlation-ID: a\nb"]

logger = get_logger("simpletuner.cloud.jobs")


def answer(request: HttpRequest) -> JsonResponse:
    logger.info("Answering")
    return JsonResponse({"bound": get_correlation_id(), "of_request": getattr(request, "correlation_id", None)})


async def answer_async(request: HttpRequest) -> JsonResponse:
    number = request.GET.get("number")
    async with LogContext(number=number):
        await asyncio.sleep(0)
        with LogContext(inner=number):
            logger.info("Answering")
            await asyncio.sleep(0)
    return JsonResponse({"bound": get_correlation_id()})


def answer_nested(request: HttpRequest) -> HttpResponse:
    number = request.GET["number"]
    with LogContext(number=number), LogContext(inner=number):
        logger.info("Answering")
    return HttpResponse(number)


def fail(request: HttpRequest) -> HttpResponse:
    raise ValueError("broken, token=MARK")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            logger.info("Making a chunk")
            yield get_correlation_id().encode()

    return StreamingHttpResponse(chunks())


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            logger.info("Making a chunk")
            yield get_correlation_id().encode()

    return StreamingHttpResponse(chunks())


async def stream_for_ever(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.Event().wait()
        finally:
            logger.info("The stream is over")

    return StreamingHttpResponse(chunks(), content_type="text/event-stream")


urlpatterns = [
    path("api/answer", answer),
    path("api/answer-async", answer_async),
    path("api/answer-nested", answer_nested),
    path("api/fail", fail),
    path("api/stream", stream),
    path("api/stream-async", stream_async),
    path("api/stream-for-ever", stream_for_ever),
]
handler400, handler404, handler500 = errors.bad_request, errors.not_found, errors.server_error
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def no_id() -> Iterator[None]:
    clear_correlation_id()
    yield
    clear_correlation_id()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a real server; these views ask no database anything."""
    with running_server() as url:
        yield url


def send_raw(url: str, header: bytes) -> bytes:
    """What the server answers to a request with these bytes as one of its headers."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(
            b"GET /api/answer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header + b"\r\n\r\n"
        )
        return b"".join(iter(lambda: connection.recv(65536), b""))


class TestIds:
    """The id by itself."""

    def test_one_is_made_when_there_is_none_and_it_stays(self) -> None:
        made = get_correlation_id()
        assert MADE.fullmatch(made)
        assert get_correlation_id() == made

    def test_a_cleared_one_does_not_come_back(self) -> None:
        set_correlation_id("request-abc-123")
        assert get_correlation_id() == "request-abc-123"
        clear_correlation_id()
        assert get_correlation_id() != "request-abc-123"

    @pytest.mark.parametrize("value", BAD_VALUES)
    def test_a_bad_one_cannot_be_set(self, value: str) -> None:
        with pytest.raises(ValueError, match="1 to 128 letters"):
            set_correlation_id(value)

    @pytest.mark.parametrize("value", ["a", "x" * 128, "request-abc-123", "A_b.C-9", "..."])
    def test_a_good_one_is_taken(self, value: str) -> None:
        assert is_valid_correlation_id(value)

    def test_a_block_leaves_everything_as_it_was(self) -> None:
        set_correlation_id("outer")
        with pytest.raises(ZeroDivisionError), correlation("inner"):
            assert get_correlation_id() == "inner"
            raise ZeroDivisionError
        assert get_correlation_id() == "outer"

    def test_a_command_makes_one_and_forgets_it(self) -> None:
        with command_correlation() as made:
            assert get_correlation_id() == made
        assert current_correlation_id() is None

    def test_a_command_inside_other_work_keeps_that_works_id(self) -> None:
        set_correlation_id("of-the-request")
        with command_correlation() as kept:
            assert kept == "of-the-request"

    def test_fifty_threads_and_fifty_tasks_have_their_own(self) -> None:
        async def in_tasks() -> list[str]:
            async def one() -> str:
                made = get_correlation_id()
                await asyncio.sleep(0)
                assert get_correlation_id() == made
                return made

            return list(await asyncio.gather(*(one() for _ in range(50))))

        with ThreadPoolExecutor(50) as pool:
            in_threads = [future.result() for future in [pool.submit(asyncio.run, in_tasks()) for _ in range(2)]]
        assert len({made for ids in in_threads for made in ids}) == 100
        assert current_correlation_id() is None


class TestRequests:
    """In and out of the middleware."""

    def test_a_given_id_is_bound_logged_and_answered(self, client: Client, log_lines: Lines) -> None:
        response = client.get("/api/answer", headers={"X-Correlation-ID": "abc123"})
        assert response.json() == {"bound": "abc123", "of_request": "abc123"}
        assert response["X-Correlation-ID"] == "abc123"
        assert {line["correlation_id"] for line in log_lines()} == {"abc123"}

    def test_without_one_an_id_is_made(self, client: Client) -> None:
        response = client.get("/api/answer")
        assert MADE.fullmatch(response["X-Correlation-ID"])
        assert response.json()["bound"] == response["X-Correlation-ID"]

    def test_it_works_under_asgi(self, log_lines: Lines) -> None:
        response = asyncio.run(AsyncClient().get("/api/answer-async", headers={"X-Correlation-ID": "abc123"}))
        assert response["X-Correlation-ID"] == json.loads(response.content)["bound"] == "abc123"
        ours = [line for line in log_lines() if line["logger"] != "asyncio"]
        assert {line["correlation_id"] for line in ours} == {"abc123"}

    @pytest.mark.parametrize("value", [value for value in BAD_VALUES if value != " "])
    def test_a_bad_id_is_replaced_and_that_is_logged_without_it(
        self, client: Client, log_file: Path, log_lines: Lines, value: str
    ) -> None:
        response = client.get("/api/answer", HTTP_X_CORRELATION_ID=value)
        assert MADE.fullmatch(response["X-Correlation-ID"])
        (line,) = [line for line in log_lines() if line["message"] == "Correlation id replaced"]
        assert (line["logger"], line["level"]) == ("simpletuner.cloud.http", "WARNING")
        assert line["correlation_id"] == response["X-Correlation-ID"]
        assert line["extra"]["length"] == len(value)
        assert value not in log_file.read_text() or len(value) < 3

    @pytest.mark.parametrize("header", BAD_BYTES, ids=lambda header: header[17:40])
    def test_bad_bytes_on_the_wire_are_replaced(self, server: str, header: bytes) -> None:
        answered = send_raw(server, header)
        assert answered.startswith(b"HTTP/1.1 200")
        assert re.search(rb"\r\nx-correlation-id: [0-9a-f]{12}\r\n", answered, re.IGNORECASE)

    def test_blanks_around_it_on_the_wire_are_no_part_of_it(self, server: str) -> None:
        answered = send_raw(server, b"X-Correlation-ID:  abc123 \t")
        assert re.search(rb"\r\nx-correlation-id: abc123\r\n", answered, re.IGNORECASE)

    @pytest.mark.parametrize("header", REFUSED_BYTES, ids=repr)
    def test_control_characters_on_the_wire_never_come_back(self, server: str, header: bytes) -> None:
        answered = send_raw(server, header)
        assert answered.startswith(b"HTTP/1.1 400") or re.search(rb"x-correlation-id: [0-9a-f]{12}\r\n", answered)

    @pytest.mark.parametrize("address", ["/api/nowhere", "/api/answer?x=1", "/api/stream"])
    def test_every_answer_has_the_header(self, client: Client, address: str) -> None:
        assert client.get(address, headers={"X-Correlation-ID": "abc123"})["X-Correlation-ID"] == "abc123"

    def test_a_disallowed_host_is_answered_with_the_header(self, client: Client) -> None:
        response = client.get("/api/answer", headers={"X-Correlation-ID": "abc123", "host": "evil.example"})
        assert (response.status_code, response["X-Correlation-ID"]) == (400, "abc123")

    def test_the_line_of_a_404_has_the_id_though_the_request_is_over(self, client: Client, log_lines: Lines) -> None:
        client.get("/api/nowhere", headers={"X-Correlation-ID": "abc123"})
        (line,) = [line for line in log_lines() if line["logger"] == "django.request"]
        assert (line["message"], line["correlation_id"]) == ("Not Found: /api/nowhere", "abc123")

    def test_a_failing_view_is_logged_under_the_id_without_secrets(
        self, client: Client, log_file: Path, log_lines: Lines
    ) -> None:
        client.raise_request_exception = False
        response = client.get("/api/fail?api_key=MARK", headers={"X-Correlation-ID": "abc123"})
        assert (response.status_code, response["X-Correlation-ID"]) == (500, "abc123")
        assert {line["correlation_id"] for line in log_lines()} == {"abc123"}
        assert "MARK" not in log_file.read_text()

    def test_one_line_a_request_at_info_says_what_came_of_it(self, client: Client, log_lines: Lines) -> None:
        client.get("/api/answer?token=MARK")
        lines = [line for line in log_lines() if line["message"].startswith("request_") and line["level"] == "INFO"]
        (extra,) = [line["extra"] for line in lines]
        assert extra.pop("duration_ms") >= 0
        assert extra == {"code": 200, "request": "GET /api/answer?token=***"}

    def test_who_asked_is_logged_when_somebody_is_signed_in(
        self, client: Client, alice: User, log_lines: Lines
    ) -> None:
        client.get("/api/answer")
        assert not [line for line in log_lines() if "user_id" in line.get("extra", {})]
        client.force_login(alice)
        client.get("/api/answer")
        assert log_lines()[-1]["extra"]["user_id"] == alice.pk

    def test_nothing_is_bound_after_it(self, client: Client) -> None:
        client.get("/api/answer", headers={"X-Correlation-ID": "abc123"})
        assert current_correlation_id() is None

    def test_the_work_around_a_request_gets_its_own_id_back(self, client: Client) -> None:
        set_correlation_id("of-the-test")
        client.get("/api/answer", headers={"X-Correlation-ID": "abc123"})
        assert get_correlation_id() == "of-the-test"

    def test_a_log_context_around_a_request_survives_it(self, client: Client, log_lines: Lines) -> None:
        with LogContext(job_id="j1"):
            client.get("/api/answer")
            logger.info("Afterwards")
        assert log_lines()[-1]["extra"] == {"job_id": "j1"}


class TestStreams:
    """The id lasts as long as the stream, and is bound only while a chunk is made."""

    def test_a_stream_is_made_under_the_id_and_its_reader_is_not(self, client: Client, log_lines: Lines) -> None:
        response: Any = client.get("/api/stream", headers={"X-Correlation-ID": "abc123"})
        chunks = [(chunk, current_correlation_id()) for chunk in response.streaming_content]
        assert chunks == [(b"abc123", None)] * 3
        made = [line for line in log_lines() if line["message"] == "Making a chunk"]
        assert [line["correlation_id"] for line in made] == ["abc123"] * 3

    def test_an_async_stream_is_made_under_the_id_and_its_reader_is_not(self, log_lines: Lines) -> None:
        async def read() -> list[tuple[bytes, str | None]]:
            response: Any = await AsyncClient().get("/api/stream-async", headers={"X-Correlation-ID": "abc123"})
            return [(chunk, current_correlation_id()) async for chunk in response.streaming_content]

        assert asyncio.run(read()) == [(b"abc123", None)] * 3
        made = [line for line in log_lines() if line["message"] == "Making a chunk"]
        assert [line["correlation_id"] for line in made] == ["abc123"] * 3

    def test_two_streams_read_in_turns_keep_their_ids(self, client: Client) -> None:
        responses: list[Any] = [
            client.get("/api/stream", headers={"X-Correlation-ID": name}) for name in ("one", "two")
        ]
        assert list(zip(*(response.streaming_content for response in responses), strict=True)) == [(b"one", b"two")] * 3

    def test_a_client_that_leaves_a_stream_is_no_error(self, log_file: Path, server: str, log_lines: Lines) -> None:
        headers = {"X-Correlation-ID": "abc123"}
        with httpx.stream("GET", f"{server}/api/stream-for-ever", headers=headers) as response:
            assert next(response.iter_lines()) == "data: first"
        wait_until(lambda: "The stream is over" in log_file.read_text())
        (over,) = [line for line in log_lines() if line["message"] == "The stream is over"]
        assert over["correlation_id"] == "abc123"
        assert [line for line in log_lines() if line["level"] not in ("DEBUG", "INFO")] == []


class TestIsolation:
    """Fifty requests at the same time."""

    def check(self, lines: list[dict[str, Any]]) -> None:
        ours = [line for line in lines if line["message"] == "Answering"]
        assert sorted(int(line["extra"]["number"]) for line in ours) == list(range(50))
        for line in ours:
            number = line["extra"]["number"]
            assert line["extra"] == {"number": number, "inner": number}
            assert line["correlation_id"] == f"request-{number}"

    def test_async_requests_never_see_each_other(self, log_lines: Lines) -> None:
        async def ask(number: int) -> None:
            headers = {"X-Correlation-ID": f"request-{number}"}
            await AsyncClient().get(f"/api/answer-async?number={number}", headers=headers)

        async def ask_all() -> None:
            await asyncio.gather(*(ask(number) for number in range(50)))

        asyncio.run(ask_all())
        self.check(log_lines())

    def test_requests_of_a_real_server_never_see_each_other(
        self, log_file: Path, server: str, log_lines: Lines
    ) -> None:
        def ask(number: int) -> str:
            headers = {"X-Correlation-ID": f"request-{number}"}
            answered = browser.get(f"/api/answer-nested?number={number}", headers=headers)
            return f"{answered.text}={answered.headers['X-Correlation-ID']}"

        with httpx.Client(base_url=server) as browser, ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(ask, range(50)))
        assert answers == [f"{number}=request-{number}" for number in range(50)]
        self.check(log_lines())


def test_a_process_logs_under_an_id_of_its_own() -> None:
    assert MADE.fullmatch(process_correlation_id())
