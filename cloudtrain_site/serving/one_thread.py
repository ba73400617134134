"""Django's ASGI handler, with a request's middleware and view in one piece of work of one thread.

Django's own handler goes to the request's thread and back for each method of each middleware, twenty times for a
request, and each time the request waits for its turn among all others. It makes that thread anew for each request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.signals import request_started
from django.db import close_old_connections, connections, reset_queries
from django.http.response import FileResponse
from django.urls import set_script_prefix

from cloudtrain_site.enterprise import one_configuration
from cloudtrain_site.serving.request_threads import RequestThreads

logger = logging.getLogger("simpletuner.cloud.http")


class OneThreadHandler(ASGIHandler):
    """Its views are no coroutines. What is left for the event loop is to read and to send."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = RequestThreads()
        # Each request's end closes its connection already.
        for receiver in (close_old_connections, reset_queries):
            request_started.disconnect(receiver)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it as under WSGI: the library asks for asynchronous middleware."""
        super().load_middleware(is_async=False)

    async def handle(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request. Who leaves meanwhile ends nothing but a stream: the rest is not interrupted."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            response = await self._threads.run(self._response_to, scope, body)
            if response.streaming:
                set_script_prefix(get_script_prefix(scope))
                await self._stream(response, receive, send)
            else:
                await self.send_response(response, send)

    def _response_to(self, scope: dict[str, Any], body: IO[bytes]) -> Any:
        """Return the response, with all that it had open closed, but for a stream's; in the request's thread."""
        set_script_prefix(get_script_prefix(scope))
        try:
            request_started.send(sender=self.__class__, scope=scope)
            request, refusal = self.create_request(scope, body)
            response: Any = refusal if request is None else self._answer(request)
            response._handler_class = self.__class__
            if isinstance(response, FileResponse):
                response.block_size = self.chunk_size
            if not response.streaming:
                _end(response)
            return response
        finally:
            _leave_connections()

    def _answer(self, request: ASGIRequest) -> Any:
        with one_configuration():
            return self.get_response(request)

    async def _stream(self, response: Any, receive: Any, send: Any) -> None:
        """Send the pieces of a response, which are made in a thread of its own, for as long as the client is there."""
        sending = asyncio.create_task(self.send_response(response, send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
            await sync_to_async(response.close)()
        if isinstance(results[0], Exception):
            raise results[0]


def _end(response: Any) -> None:
    """Close what the response has open. An error must not take the place of the answer: what that tells is done."""
    try:
        response.close()
    except Exception:
        logger.exception("A request was answered, but not ended")


def _leave_connections() -> None:
    """Give them back. A transaction that nobody has ended would fail each later request of this thread."""
    close_old_connections()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            del connections[connection.alias]
