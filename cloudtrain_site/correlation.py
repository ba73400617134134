"""Carries the correlation id through requests, streams and background tasks."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from typing import Any

from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.functional import LazyObject, empty
from django_q import signals as task_signals
from django_q.utils import get_func_repr
from django_structlog import signals as request_signals
from django_structlog.middlewares import RequestMiddleware
from structlog.contextvars import bind_contextvars, clear_contextvars, unbind_contextvars

from cloudtrain_site.correlation_ids import (
    HEADER,
    MAX_LENGTH,
    correlation,
    current_correlation_id,
    is_valid_correlation_id,
    new_correlation_id,
    set_correlation_id,
)
from cloudtrain_site.redaction import MASK
from cloudtrain_site.structured_logging.loggers import get_logger
from cloudtrain_site.tracing import spans

logger = get_logger("simpletuner.cloud.http")
_tasks_logger = logging.getLogger("django-q")
#: The span of the task that this process, a worker, executes.
_task_span = ExitStack()

#: The part of an address that only the recipient of a mail knows.
_LINK = re.compile(r"((?:/|%2F)(?:account(?:/|%2F)email|password(?:/|%2F)[^/?&%]+)(?:/|%2F))[^/?&\s]+", re.IGNORECASE)
_META_KEY = f"HTTP_{HEADER.upper().replace('-', '_')}"


class CorrelationMiddleware(RequestMiddleware):
    """Gives each request a valid correlation id, which django-structlog binds, and echoes it in the response."""

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Return the response, made under the request's id."""
        # In its own context, as each asynchronous request has one: at the end the library clears every bound field,
        # also those of the work around the request.
        return copy_context().run(super().__call__, request)

    def prepare(self, request: HttpRequest) -> None:
        """Put the id where the library reads it."""
        # Kept on the request, which outlives the context: Django logs its 4xx lines after it.
        request.correlation_id = id_of_request(request.META.get(_META_KEY))  # type: ignore[attr-defined]
        request.started_at = time.perf_counter()  # type: ignore[attr-defined]
        request.META[_META_KEY] = request.correlation_id  # type: ignore[attr-defined]
        super().prepare(request)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return the method and the address for the log, without what makes a link of a mail work."""
        return _LINK.sub(rf"\1{MASK}", super(CorrelationMiddleware, CorrelationMiddleware).format_request(request))

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Echo the id, and log the request; a page's dozen static files would bury the other lines."""
        correlation_id: str = request.correlation_id  # type: ignore[attr-defined]
        response[HEADER] = correlation_id
        spans.name_by_route(request)
        if request.path.startswith(settings.STATIC_URL) and response.status_code < 400:
            clear_contextvars()
            return
        super().handle_response(request, response)
        if isinstance(response, StreamingHttpResponse):
            chunks: Any = response.streaming_content
            in_context = _in_context_async(chunks, correlation_id) if response.is_async else _in_context(chunks)
            response.streaming_content = in_context


def id_of_request(header: str | None) -> str:
    """Return the id in a request's `header`, or a new one. The replacement of an invalid id is logged."""
    # Blanks around a header's value are no part of it, and the server keeps those after it.
    requested_id = (header or "").strip(" \t")
    if is_valid_correlation_id(requested_id):
        return requested_id
    new_id = new_correlation_id()
    if requested_id:
        # Its length and not its text, which would let a client write into the log.
        reason = "too long" if len(requested_id) > MAX_LENGTH else "a character that is not allowed"
        logger.warning("Correlation id replaced", correlation_id=new_id, reason=reason, length=len(requested_id))
    return new_id


# The library binds the id from a stream's first chunk to its last, in its reader's context: the reader's lines, and
# those of another stream that it reads alternately with this one, would have the id too.


def _in_context(chunks: Iterator[bytes]) -> Iterator[bytes]:
    context = copy_context()
    while (chunk := context.run(next, chunks, None)) is not None:
        yield chunk


async def _in_context_async(chunks: AsyncIterator[bytes], correlation_id: str) -> AsyncIterator[bytes]:
    """Make each chunk under the id. A disconnect cancels the wait, so the generator ends under its id too."""
    while True:
        with correlation(correlation_id):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


@receiver(request_signals.bind_extra_request_metadata, dispatch_uid="cloudtrain.request_started")
def _drop_second_id(**kwargs: Any) -> None:
    """Unbind django-structlog's own request id: one id a request is enough."""
    unbind_contextvars("request_id")


@receiver(request_signals.bind_extra_request_finished_metadata, dispatch_uid="cloudtrain.request_finished")
@receiver(request_signals.bind_extra_request_failed_metadata, dispatch_uid="cloudtrain.request_failed")
def _add_cheap_facts(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """Add the duration, the process where there are several, and the user if it is loaded: this makes no query."""
    started = getattr(request, "started_at", None)
    if started is not None:
        log_kwargs["duration_ms"] = round((time.perf_counter() - started) * 1000, 1)
    if settings.WEB_PROCESSES > 1:
        log_kwargs["pid"] = os.getpid()
    user = request.__dict__.get("user")
    if not (isinstance(user, LazyObject) and user.__dict__["_wrapped"] is empty):
        user_id = getattr(user, "pk", None)
        if user_id is not None:
            log_kwargs["user_id"] = user_id


def connect_task_correlation() -> None:
    """Carry the id into django-q2's tasks. To be called once all apps are loaded, in every kind of process."""
    task_signals.pre_enqueue.connect(_store_id, dispatch_uid="cloudtrain.store_id")
    task_signals.pre_execute.connect(_begin_task, dispatch_uid="cloudtrain.begin_task")
    task_signals.post_execute_in_worker.connect(_end_task, dispatch_uid="cloudtrain.end_task")
    task_signals.post_execute.connect(_name_result, dispatch_uid="cloudtrain.name_result")
    _tasks_logger.addFilter(_task_lines)


def _store_id(task: dict[str, Any], **kwargs: Any) -> None:
    """Store the id of the enqueueing work; a scheduled task, which no work enqueues, gets its own."""
    task.setdefault("correlation_id", current_correlation_id() or new_correlation_id())


def _begin_task(task: dict[str, Any], **kwargs: Any) -> None:
    if task.get("sync"):
        return  # it runs inside the work that enqueued it, which keeps its context
    clear_contextvars()
    set_correlation_id(task.get("correlation_id") or new_correlation_id())
    function = get_func_repr(task["func"])
    bind_contextvars(task=function, task_id=task["id"])
    _task_span.enter_context(spans.span(function, {"task.id": task["id"]}, kind="consumer"))


def _end_task(task: dict[str, Any], **kwargs: Any) -> None:
    if not task.get("sync"):
        spans.note({}, failed=not task["success"])
        _task_span.close()
        clear_contextvars()


class _TaskLines(logging.Filter):
    """Puts a task's id on the one line that the monitor process logs about its result, and hides routine lines.

    Binding the id there would last until the next task's result is saved, whose errors would be logged under it.
    """

    correlation_id: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it: at INFO, three lines for every tick of every loop would bury all others."""
        if self.correlation_id is not None:
            record.correlation_id, self.correlation_id = self.correlation_id, None
        is_routine = record.levelno == logging.INFO and _ROUTINE.search(record.getMessage())
        return not is_routine or _tasks_logger.isEnabledFor(logging.DEBUG)


_ROUTINE = re.compile(r"^Enqueued \[|^\S+ processing \S+ '|^Processed '")
_task_lines = _TaskLines()


def _name_result(task: dict[str, Any], **kwargs: Any) -> None:
    is_logged = _tasks_logger.isEnabledFor(logging.INFO if task["success"] else logging.ERROR)
    _task_lines.correlation_id = task.get("correlation_id") if is_logged else None
