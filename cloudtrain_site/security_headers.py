"""What a browser may load and run on our pages: our own files, and nothing written into a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]

HEADER = "Content-Security-Policy"
POLICY = {
    "default-src": "'self'",
    # Icons in stylesheets are data addresses.
    "img-src": "'self' data:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
#: The API's page sets its few styles in the page itself.
DOCS = "/api/docs"
POLICY_OF_DOCS = {**POLICY, "style-src": "'self' 'unsafe-inline'"}


def _header(policy: dict[str, str]) -> str:
    return "; ".join(f"{name} {sources}" for name, sources in policy.items())


STRICT, LENIENT = _header(POLICY), _header(POLICY_OF_DOCS)


@sync_and_async_middleware
def content_security_policy(get_response: GetResponse) -> GetResponse:
    """Put the policy on every response that has none of its own."""
    if iscoroutinefunction(get_response):

        async def answer(request: HttpRequest) -> Response:
            return _marked(request, await cast(Awaitable[Response], get_response(request)))

        return answer
    return lambda request: _marked(request, cast(Response, get_response(request)))


def _marked(request: HttpRequest, response: Response) -> Response:
    response.headers.setdefault(HEADER, LENIENT if request.path == DOCS else STRICT)
    return response
