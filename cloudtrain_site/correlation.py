"""Carries the correlation id through requests, streams and background tasks."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
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
from cloudtrain_site.structured_logging.loggers import get_logger

logger = get_logger("simpletuner.cloud.http")
_tasks_logger = logging.getLogger("django-q")

_META_KEY = f"HTTP_{HEADER.upper().replace('-', '_')}"


class CorrelationMiddleware(RequestMiddleware):
    """Gives each request a good correlation id, which django-structlog binds, and echoes it in the response."""

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """The response, made under the request's id."""
        # In a context of its own, as each asynchronous request has one: at the end the library clears every bound
        # field, those of the work around the request too.
        return copy_context().run(super().__call__, request)

    def prepare(self, request: HttpRequest) -> None:
        """Put the id where the library looks for it."""
        # Kept on the request, which outlives the context: Django logs its 4xx lines when that is over.
        request.correlation_id = id_of_request(request.META.get(_META_KEY))  # type: ignore[attr-defined]
        request.started_at = time.perf_counter()  # type: ignore[attr-defined]
        request.META[_META_KEY] = request.correlation_id  # type: ignore[attr-defined]
        super().prepare(request)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Echo the id, and log what came of the request; a page's dozen static files would bury the other lines."""
        correlation_id: str = request.correlation_id  # type: ignore[attr-defined]
        response[HEADER] = correlation_id
        if request.path.startswith(settings.STATIC_URL) and response.status_code < 400:
            clear_contextvars()
            return
        super().handle_response(request, response)
        if isinstance(response, StreamingHttpResponse):
            chunks: Any = response.streaming_content
            in_turns = _in_turns_async(chunks, correlation_id) if response.is_async else _in_turns(chunks)
            response.streaming_content = in_turns


def id_of_request(header: str | None) -> str:
    """The id in a request's `header`, or a new one; that an id can't be used and is replaced is logged."""
    # Blanks around a header's value are no part of it, and the server leaves those that follow.
    given = (header or "").strip(" \t")
    if is_valid_correlation_id(given):
        return given
    made = new_correlation_id()
    if given:
        # Its length and not its text: whoever sent it chose that to be logged.
        reason = "too long" if len(given) > MAX_LENGTH else "a character that is not allowed"
        logger.warning("Correlation id replaced", correlation_id=made, reason=reason, length=len(given))
    return made


# The library binds the id from a stream's first chunk to its last, in the context of whoever reads it: the lines of
# the reader, and of another stream that it reads in turns with this one, would carry the id too.


def _in_turns(chunks: Iterator[bytes]) -> Iterator[bytes]:
    context = copy_context()
    while (chunk := context.run(next, chunks, None)) is not None:
        yield chunk


async def _in_turns_async(chunks: AsyncIterator[bytes], correlation_id: str) -> AsyncIterator[bytes]:
    """A client that goes away cancels the wait for a chunk: so a view's generator ends under its id too."""
    while True:
        with correlation(correlation_id):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


@receiver(request_signals.bind_extra_request_metadata, dispatch_uid="cloudtrain.request_started")
def _drop_second_id(**kwargs: Any) -> None:
    """django-structlog binds an id of its own to every line: one id a request is enough."""
    unbind_contextvars("request_id")


@receiver(request_signals.bind_extra_request_finished_metadata, dispatch_uid="cloudtrain.request_finished")
@receiver(request_signals.bind_extra_request_failed_metadata, dispatch_uid="cloudtrain.request_failed")
def _add_cheap_facts(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """How long it took, and who asked when somebody has looked that up already: logging makes no query."""
    started = getattr(request, "started_at", None)
    if started is not None:
        log_kwargs["duration_ms"] = round((time.perf_counter() - started) * 1000, 1)
    user = request.__dict__.get("user")
    if not (isinstance(user, LazyObject) and user.__dict__["_wrapped"] is empty):
        user_id = getattr(user, "pk", None)
        if user_id is not None:
            log_kwargs["user_id"] = user_id


def connect_task_correlation() -> None:
    """Carry the id into django-q2's tasks: to be called once all apps are there, in every kind of process."""
    task_signals.pre_enqueue.connect(_store_id, dispatch_uid="cloudtrain.store_id")
    task_signals.pre_execute.connect(_begin_task, dispatch_uid="cloudtrain.begin_task")
    task_signals.post_execute_in_worker.connect(_end_task, dispatch_uid="cloudtrain.end_task")
    task_signals.post_execute.connect(_name_result, dispatch_uid="cloudtrain.name_result")
    _tasks_logger.addFilter(_task_lines)


def _store_id(task: dict[str, Any], **kwargs: Any) -> None:
    """The id of the work that enqueues it; a scheduled task, enqueued by no work, gets its own."""
    task.setdefault("correlation_id", current_correlation_id() or new_correlation_id())


def _begin_task(task: dict[str, Any], **kwargs: Any) -> None:
    if task.get("sync"):
        return  # it runs inside the work that enqueued it, whose context is not ours to replace
    clear_contextvars()
    set_correlation_id(task.get("correlation_id") or new_correlation_id())
    bind_contextvars(task=get_func_repr(task["func"]), task_id=task["id"])


def _end_task(task: dict[str, Any], **kwargs: Any) -> None:
    if not task.get("sync"):
        clear_contextvars()


class _TaskLines(logging.Filter):
    """Puts a task's id on the one line that the monitor process logs about its result, and keeps ticks quiet.

    Binding the id there would last until the next task's result has been saved, whose errors would be logged under it.
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
