"""Webhooks take a short way: past sessions, cookies and logins, of which a delivery has none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from jobs.providers.replicate_predictions import WEBHOOK_PATH
from jobs.webhook_views import replicate

GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def webhook_door(get_response: GetResponse) -> GetResponse:
    """Answer deliveries here, in one of a few threads that are kept: one for each would cost as much as its work."""
    if iscoroutinefunction(get_response):

        async def answer(request: HttpRequest) -> HttpResponseBase:
            if request.path == WEBHOOK_PATH:
                return await sync_to_async(_take_in, thread_sensitive=False)(request)
            return await cast(Awaitable[HttpResponseBase], get_response(request))

        return answer

    def answer_at_once(request: HttpRequest) -> HttpResponseBase:
        return replicate(request) if request.path == WEBHOOK_PATH else cast(HttpResponseBase, get_response(request))

    return answer_at_once


def _take_in(request: HttpRequest) -> HttpResponse:
    try:
        return replicate(request)
    finally:
        # Django does this for its own threads, and knows nothing of these.
        close_old_connections()
