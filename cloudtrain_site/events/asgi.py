"""Open browsers' event streams in front of Django, whose middleware and threads cost more than an admission.

Thousands come back at once when a web process has ended. They are admitted in their order, a part at a time and in one
thread, so that those who have a stream get their events meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import got_request_exception
from django.db import Error
from django.http import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.cache import patch_vary_headers

from cloudtrain_site.accounts.key_authentication import KEY_HEADER
from cloudtrain_site.correlation import CorrelationMiddleware
from cloudtrain_site.events.admission import Candidate, admit
from cloudtrain_site.events.relay import DatabaseThread
from cloudtrain_site.events.stream import begin_stream, last_id_of
from cloudtrain_site.serving import echo, page_owner
from cloudtrain_site.serving.asgi_types import App, Receive, Scope, Send
from cloudtrain_site.serving.content_policy import ContentPolicyMiddleware
from cloudtrain_site.serving.no_store import no_store
from cloudtrain_site.tracing.spans import note

logger = logging.getLogger("simpletuner.cloud.events")

PATH = "/api/events"
#: When more begin at the same moment, the event loop can't deliver meanwhile.
ADMITTED_AT_ONCE = 25
#: For how long a connection that isn't from a pool is kept for those who wait.
KEEP_CONNECTION_SECONDS = 1.0
#: With one of these the view decides.
_FOR_THE_VIEW = ("Authorization", KEY_HEADER, page_owner.HEADER, echo.REQUEST_HEADER, "Transfer-Encoding")
#: Of plain numbers; the view refuses the others.
_QUERY = re.compile(r"(?:(?:reader|last_event_id|lastEventId)=[0-9]{1,20}(?:&|$))*")
_SESSION_KEY = re.compile("[a-z0-9]{8,40}")


@dataclass(slots=True, eq=False)
class _Visitor:
    request: ASGIRequest
    arrived_at: float
    candidate: Candidate
    was_looked_at: asyncio.Future[None]


class StreamEndpoint:
    """Opens the streams that are certainly allowed. It refuses none: the application behind it decides on the rest."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._waiting: deque[_Visitor] = deque()
        self._task: asyncio.Task[None] | None = None
        # What the settings put around each view, as far as it needs no session and no database.
        correlated = CorrelationMiddleware(
            no_store(SecurityMiddleware(ContentPolicyMiddleware(XFrameOptionsMiddleware(_begin))))  # type: ignore[arg-type]
        )
        # The other one, in front of the views, tells of errors in them.
        got_request_exception.disconnect(correlated.process_got_request_exception)
        self._answer: Any = correlated

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the stream, or pass the request on."""
        visitor = _visitor_of(scope)
        if visitor is not None:
            self._waiting.append(visitor)
            # In a context of its own: it outlives this request, and must not log under its id.
            self._task = self._task or asyncio.get_running_loop().create_task(self._admit_all(), context=Context())
            await visitor.was_looked_at
        if visitor is None or visitor.candidate.reader is None:
            await self.app(scope, receive, send)
            return
        visitor.request.visitor = visitor  # type: ignore[attr-defined]
        note({"http.route": PATH}, name=f"GET {PATH}")
        response = self._answer(visitor.request)
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})

    async def _admit_all(self) -> None:
        thread = DatabaseThread("stream-admission", KEEP_CONNECTION_SECONDS)
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), ADMITTED_AT_ONCE))]
                try:
                    await thread.run(admit, [visitor.candidate for visitor in batch])
                except Error:
                    pass  # the view meets it as well, and answers for it
                except Exception:
                    logger.exception("Event streams could not be admitted together; each asks by itself")
                for visitor in batch:
                    if not visitor.was_looked_at.done():
                        visitor.was_looked_at.set_result(None)
        finally:
            self._task = None
            thread.end()


def _visitor_of(scope: Scope) -> _Visitor | None:
    """Return a browser that asks for its stream, and for nothing else; None: the view decides."""
    if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
        return None
    if _QUERY.fullmatch(scope["query_string"].decode("latin-1")) is None:
        return None
    arrived_at, request = time.perf_counter(), ASGIRequest(scope, BytesIO())
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if request.path_info != PATH or _SESSION_KEY.fullmatch(key) is None or not _is_plain(request):
        return None
    candidate = Candidate(key, last_id_of(request), request.GET.get(page_owner.PARAMETER))
    return _Visitor(request, arrived_at, candidate, asyncio.get_running_loop().create_future())


def _is_plain(request: ASGIRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        return False
    is_secure_enough = request.is_secure() or not settings.SECURE_SSL_REDIRECT
    has_body = request.META.get("CONTENT_LENGTH", "0") != "0"
    return is_secure_enough and not has_body and not any(name in request.headers for name in _FOR_THE_VIEW)


def _begin(request: ASGIRequest) -> HttpResponseBase:
    visitor: _Visitor = request.visitor  # type: ignore[attr-defined]
    assert visitor.candidate.user is not None
    assert visitor.candidate.reader is not None
    request.user, request.started_at = visitor.candidate.user, visitor.arrived_at  # type: ignore[attr-defined]
    response = begin_stream(request, visitor.candidate.reader)
    patch_vary_headers(response, ("Cookie",))
    return response
