"""Carries the correlation id through requests, streams and background tasks."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.dispatch import receiver
from django.http import FileResponse, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.functional import LazyObject, empty
from django_q import signals as task_signals
from django_q.utils import get_func_repr
from django_structlog import signals as request_signals
from structlog.contextvars import bind_contextvars, clear_contextvars, unbind_contextvars

from cloudtrain_site.correlation_ids import (
    HEADER,
    MAX_LENGTH,
    clear_correlation_id,
    command_correlation,
    correlation,
    current_correlation_id,
    is_valid_correlation_id,
    new_correlation_id,
    set_correlation_id,
)
from cloudtrain_site.structured_logging.loggers import get_logger

__all__ = ["CorrelationMiddleware", "command_correlation", "connect_task_correlation", "correlation"]

_tasks_logger = logging.getLogger("django-q")

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]


class CorrelationMiddleware:
    """Takes the request's `X-Correlation-ID` or makes one, and keeps it bound to the last byte of the answer."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Response | Awaitable[Response]:
        """The response, under the request's id."""
        if self.is_async:
            return self._answer(request)
        with request_correlation(request.headers.get(HEADER)) as correlation_id:
            _note_start(request, correlation_id)
            return _marked(cast(Response, self.get_response(request)), correlation_id)

    async def _answer(self, request: HttpRequest) -> Response:
        with request_correlation(request.headers.get(HEADER)) as correlation_id:
            _note_start(request, correlation_id)
            return _marked(await cast(Awaitable[Response], self.get_response(request)), correlation_id)


def _note_start(request: HttpRequest, correlation_id: str) -> None:
    """Keep on the request what outlives the context: Django logs its 4xx lines when that is over."""
    request.correlation_id = correlation_id  # type: ignore[attr-defined]
    request.started_at = time.perf_counter()  # type: ignore[attr-defined]


def _marked(response: Response, correlation_id: str) -> Response:
    response[HEADER] = correlation_id
    if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
        chunks = response.streaming_content
        follow = _follow_async if response.is_async else _follow
        response.streaming_content = follow(cast(Any, chunks), correlation_id)
    return response


def _follow(chunks: Iterable[bytes], correlation_id: str) -> Iterator[bytes]:
    """The chunks, each made under the id; between two of them the thread belongs to the server."""
    iterator = iter(chunks)
    while True:
        with correlation(correlation_id):
            try:
                chunk = next(iterator)
            except StopIteration:
                return
        yield chunk


async def _follow_async(chunks: AsyncIterable[bytes], correlation_id: str) -> AsyncIterator[bytes]:
    """The same. A client that goes away cancels the wait for a chunk: so a view's generator ends under its id too."""
    iterator = aiter(chunks)
    while True:
        with correlation(correlation_id):
            try:
                chunk = await anext(iterator)
            except StopAsyncIteration:
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
        clear_correlation_id()


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


logger = get_logger("simpletuner.cloud.http")


@contextmanager
def request_correlation(header: str | None) -> Iterator[str]:
    """Name the work of a request as its `header` does; one that can't be used is replaced, which is logged."""
    # Blanks around a header's value are no part of it, and the server leaves those that follow.
    given = (header or "").strip(" \t")
    is_good = is_valid_correlation_id(given)
    with correlation(given if is_good else None) as correlation_id:
        if given and not is_good:
            # Its length and not its text: whoever sent it chose that to be logged.
            reason = "too long" if len(given) > MAX_LENGTH else "a character that is not allowed"
            logger.warning("Correlation id replaced", reason=reason, length=len(given))
        yield correlation_id
