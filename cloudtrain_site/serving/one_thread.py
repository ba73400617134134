"""Django's ASGI handler, with a request's middleware and view in one piece of work of one thread.

Django's own handler goes to the request's thread and back for each method of each middleware, twenty times for a
request, and each time the request waits for its turn among all others.
"""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class OneThreadHandler(ASGIHandler):
    """Runs in the event loop only the coroutine of an asynchronous view."""

    def __init__(self) -> None:
        super().__init__()
        # They are for a thread that served another request before, and would cost each request a way to its thread.
        for receiver in (close_old_connections, reset_queries):
            request_started.disconnect(receiver)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it as under WSGI: the library asks for asynchronous middleware."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await sync_to_async(self.get_response)(request)
        return response
