"""One middleware, django-structlog's with our check before it: what it logs of a request, and what it leaves behind."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, Client, RequestFactory
from django.urls import path
from django.utils.module_loading import import_string
from django_structlog.middlewares import RequestMiddleware
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars

from cloudtrain_site import errors
from cloudtrain_site.correlation import CorrelationMiddleware
from cloudtrain_site.correlation_ids import correlation, current_correlation_id
from cloudtrain_site.structured_logging import get_logger
from tests.cloudtrain_site.conftest import Lines

logger = get_logger("simpletuner.cloud.jobs")


def bind_more(request: HttpRequest) -> HttpResponse:
    bind_contextvars(step="upload")
    logger.info("Answering")
    return HttpResponse()


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            logger.info("Making a chunk")
            yield b"x"

    return StreamingHttpResponse(chunks())


def break_off(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("broken")

    return StreamingHttpResponse(chunks())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


def leave(request: HttpRequest) -> HttpResponse:
    raise SystemExit


urlpatterns = [
    path("api/bind-more", bind_more),
    path("api/stream", stream),
    path("api/break-off", break_off),
    path("api/file", file),
    path("api/leave", leave),
]
handler400, handler404, handler500 = errors.bad_request, errors.not_found, errors.server_error
pytestmark = pytest.mark.urls(__name__)
HEADERS = {"X-Correlation-ID": "abc123"}


def about_requests(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["logger"].startswith("django_structlog") and line["level"] != "DEBUG"]


def test_the_one_middleware_of_the_library_stands_first() -> None:
    found = [name for name in settings.MIDDLEWARE if _is_the_librarys(import_string(name))]
    assert found == settings.MIDDLEWARE[:1] == ["cloudtrain_site.correlation.CorrelationMiddleware"]


def _is_the_librarys(middleware: Any) -> bool:
    return inspect.isclass(middleware) and issubclass(middleware, RequestMiddleware)


class TestLines:
    """One line a request, under its id."""

    def test_what_another_middleware_answers_has_its_line_and_id(self, client: Client, log_lines: Lines) -> None:
        response = client.get("/api/file", headers={**HEADERS, "X-Reader": "7"})
        (line,) = about_requests(log_lines())
        assert (response.status_code, line["extra"]["code"]) == (401, 401)
        assert response["X-Correlation-ID"] == line["correlation_id"] == "abc123"

    def test_a_static_file_has_the_id_and_no_line(self, client: Client, log_lines: Lines) -> None:
        response = client.get("/static/admin/css/base.css", headers=HEADERS)
        assert (response.status_code, response["X-Correlation-ID"]) == (200, "abc123")
        assert about_requests(log_lines()) == []

    @pytest.mark.urls("cloudtrain_site.urls")
    def test_a_missing_static_file_has_its_line(self, db: None, client: Client, log_lines: Lines) -> None:
        client.get("/static/nothing.css", headers=HEADERS)
        assert [line["extra"]["code"] for line in about_requests(log_lines())] == [404]

    def test_a_stream_that_breaks_off_is_logged_under_the_id(self, client: Client, log_lines: Lines) -> None:
        response: Any = client.get("/api/break-off", headers=HEADERS)
        with pytest.raises(ValueError, match="broken"):
            list(response.streaming_content)
        (line,) = [line for line in log_lines() if line["message"] == "streaming_failed"]
        assert (line["level"], line["correlation_id"]) == ("ERROR", "abc123")
        assert current_correlation_id() is None

    def test_what_a_view_binds_is_on_the_lines_that_follow(self, client: Client, log_lines: Lines) -> None:
        client.get("/api/bind-more", headers=HEADERS)
        (line,) = about_requests(log_lines())
        assert line["extra"]["step"] == "upload"


class TestNothingIsLeftBehind:
    """Neither by a request that ends well nor by one that is broken off."""

    @pytest.mark.parametrize("address", ["/api/bind-more", "/api/nowhere", "/static/admin/css/base.css"])
    def test_the_fields_of_the_work_around_stay_as_they_were(self, client: Client, address: str) -> None:
        with correlation("outer"), bound_contextvars(task="t1"):
            client.get(address, headers=HEADERS)
            assert get_contextvars() == {"correlation_id": "outer", "task": "t1"}

    def test_a_view_that_ends_the_thread_leaves_nothing(self, client: Client) -> None:
        with pytest.raises(SystemExit):
            client.get("/api/leave", headers=HEADERS)
        assert get_contextvars() == {}

    @pytest.mark.parametrize("address", ["/api/stream", "/api/file"])
    def test_a_stream_leaves_its_reader_alone(self, client: Client, address: str) -> None:
        response: Any = client.get(address, headers=HEADERS)
        with correlation("of-the-reader"):
            assert {current_correlation_id() for _ in response.streaming_content} == {"of-the-reader"}
        assert get_contextvars() == {}

    def test_a_stream_that_is_closed_in_its_midst_leaves_nothing(self, db: None, client: Client) -> None:
        response: Any = client.get("/api/stream", headers=HEADERS)
        next(iter(response.streaming_content))
        response.close()
        assert get_contextvars() == {}


class TestAsynchronous:
    """In front of asynchronous middleware alone it is asynchronous itself."""

    def test_the_id_is_bound_echoed_and_gone(self, log_lines: Lines) -> None:
        async def view(request: HttpRequest) -> HttpResponse:
            await asyncio.sleep(0)
            return HttpResponse(current_correlation_id())

        async def ask() -> HttpResponse:
            response: HttpResponse = await self.answer(view)
            assert get_contextvars() == {}
            return response

        response = asyncio.run(ask())
        assert (response.content, response["X-Correlation-ID"]) == (b"abc123", "abc123")
        assert [line["correlation_id"] for line in about_requests(log_lines())] == ["abc123"]

    def test_two_streams_read_in_turns_keep_their_ids(self) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield str(current_correlation_id()).encode()

        async def view(request: HttpRequest) -> StreamingHttpResponse:
            return StreamingHttpResponse(chunks())

        async def read() -> list[tuple[bytes, bytes, str | None]]:
            one: Any = await self.answer(view, "one")
            two: Any = await self.answer(view, "two")
            first, second = aiter(one.streaming_content), aiter(two.streaming_content)
            return [(await anext(first), await anext(second), current_correlation_id()) for _ in range(3)]

        assert asyncio.run(read()) == [(b"one", b"two", None)] * 3

    async def answer(self, view: Any, correlation_id: str = "abc123") -> Any:
        middleware: Any = CorrelationMiddleware(view)
        assert iscoroutinefunction(middleware)
        return await middleware(AsyncRequestFactory().get("/", headers={"X-Correlation-ID": correlation_id}))


def test_the_library_reads_the_checked_id_and_not_the_senders() -> None:
    request = RequestFactory().get("/", headers={"X-Correlation-ID": "a b", "X-Request-ID": "r" * 500})
    seen: list[dict[str, Any]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(get_contextvars())
        return HttpResponse()

    response: Any = CorrelationMiddleware(view)(request)
    assert seen == [{"correlation_id": response["X-Correlation-ID"]}]
    assert response["X-Correlation-ID"] != "a b"


@pytest.mark.parametrize(
    ("address", "logged"),
    [
        ("/account/email/Mw:1x:planted", "/account/email/***"),
        ("/password/1/d-planted", "/password/1/***"),
        ("/password/1/set-password?next=/", "/password/1/***?next=/"),
        ("/login?next=/account/email/Mw%3A1x%3Aplanted", "/login?next=/account/email/***"),
        ("/login?next=%2Faccount%2Femail%2Fplanted&a=b", "/login?next=%2Faccount%2Femail%2F***&a=b"),
        ("/account/email?sent", "/account/email?sent"),
        ("/password/sent", "/password/sent"),
    ],
)
def test_what_makes_a_link_of_a_mail_work_is_not_logged(rf: RequestFactory, address: str, logged: str) -> None:
    assert CorrelationMiddleware.format_request(rf.get(address)) == f"GET {logged}"
