"""An open page asks as the one whom it was made for, or not at all.

A browser has one session for all its tabs. When somebody else signs in, in one of them, the others still show the
former reader's page: what they ask for would be answered, and what is clicked there done, in the name of the new one.
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

#: Whose page it is that asks; the event stream, for which a browser sends no header, says it in its address.
HEADER = "X-Reader"
PARAMETER = "reader"
WORDS = "This page is of somebody who is no longer signed in here."


@sync_and_async_middleware
def same_reader(get_response: GetResponse) -> GetResponse:
    """Answer 401 to the page of anybody but who is signed in now. What names no reader goes on."""
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
    return JsonResponse(error_body(WORDS, "not_authenticated"), status=401)
