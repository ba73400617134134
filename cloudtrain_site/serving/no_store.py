"""No cache keeps an answer of the API: it belongs to one reader and is old in a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]

PREFIX = "/api/"


@sync_and_async_middleware
def no_store(get_response: GetResponse) -> GetResponse:
    """Set `Cache-Control: no-store` on the API's responses, but for those that say something else themselves."""
    if iscoroutinefunction(get_response):

        async def answer(request: HttpRequest) -> Response:
            return _marked(request, await cast(Awaitable[Response], get_response(request)))

        return answer

    def answer_at_once(request: HttpRequest) -> Response:
        return _marked(request, cast(Response, get_response(request)))

    return answer_at_once


def _marked(request: HttpRequest, response: Response) -> Response:
    if request.path_info.startswith(PREFIX):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
