"""An open page's requests are answered only while its owner is signed in.

A browser has one session for all its tabs. After another user signs in, in one of them, the others still show the
former user's page: its requests would be answered, and its buttons act, in the name of the new user.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from cloudtrain_site.errors import error_body

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]

#: Each has the page's owner. A browser sends no header for the event stream, so its address has a parameter.
HEADER = "X-Reader"
PARAMETER = "reader"
REFUSAL = "This page belongs to somebody who is no longer signed in."


@sync_and_async_middleware
def same_reader(get_response: GetResponse) -> GetResponse:
    """Answer 401 to a page of another user than the signed-in one. Requests without an owner pass."""
    if iscoroutinefunction(get_response):

        async def answer(request: HttpRequest) -> Response:
            reader = _reader(request)
            if reader is not None and reader != await request.session.aget(SESSION_KEY):
                return _refusal()
            return await cast(Awaitable[Response], get_response(request))

        return answer

    def answer_at_once(request: HttpRequest) -> Response:
        reader = _reader(request)
        if reader is not None and reader != request.session.get(SESSION_KEY):
            return _refusal()
        return cast(Response, get_response(request))

    return answer_at_once


def _reader(request: HttpRequest) -> str | None:
    in_address = request.GET.get(PARAMETER) if request.path == "/api/events" else None
    return request.headers.get(HEADER, in_address)


def _refusal() -> JsonResponse:
    return JsonResponse(error_body(REFUSAL, "not_authenticated"), status=401)
