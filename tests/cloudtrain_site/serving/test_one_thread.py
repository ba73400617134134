"""A request leaves nothing to the next one of its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.signals import request_finished
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse

from cloudtrain_site.serving import request_threads
from cloudtrain_site.serving.asgi_types import Message
from cloudtrain_site.serving.one_thread import OneThreadHandler
from tests.wait import PATIENCE_SECONDS


async def body_of(handler: OneThreadHandler, path: str) -> bytes:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append({**message})

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await asyncio.wait_for(handler(scope, receive, send), PATIENCE_SECONDS)
    return bytes(sent[-1]["body"])


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_nobody_ends_is_rolled_back_and_fails_no_later_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_threads, "AT_ONCE", 1)
    handler = OneThreadHandler()

    def answer(request: HttpRequest) -> HttpResponse:
        if request.path == "/begin":
            transaction.atomic().__enter__()
            User.objects.create(username="lost")
        found = User.objects.count()
        if request.path == "/last":
            connection.close()  # this thread's own, which would outlive the test
        return HttpResponse(f"{found}")

    monkeypatch.setattr(handler, "get_response", answer)

    async def bodies_of(*paths: str) -> list[bytes]:
        return [await body_of(handler, path) for path in paths]

    assert asyncio.run(bodies_of("/", "/begin", "/", "/last")) == [b"0", b"1", b"0", b"0"]


@pytest.mark.django_db
def test_an_error_at_its_end_does_not_take_the_answers_place(
    monkeypatch: pytest.MonkeyPatch, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    def fail(**named: Any) -> None:
        raise ZeroDivisionError

    handler = OneThreadHandler()
    monkeypatch.setattr(handler, "get_response", lambda request: HttpResponse("done"))
    request_finished.connect(fail)
    try:
        assert asyncio.run(body_of(handler, "/")) == b"done"
    finally:
        request_finished.disconnect(fail)
    assert [line["message"] for line in log_lines()] == ["A request was answered, but not ended"]
