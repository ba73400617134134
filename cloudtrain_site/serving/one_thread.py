"""Django's ASGI handler, with a request's middleware and view in one piece of work of one thread.

Django's own goes to the request's thread and back for each method of each middleware, twenty times for a request, and
each time waits for its turn among all others.
"""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class OneThreadHandler(ASGIHandler):
    """Of a view that is a coroutine, the coroutine alone runs in the event loop."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it as without ASGI, whatever the library asks for."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await sync_to_async(self.get_response)(request)
        return response
