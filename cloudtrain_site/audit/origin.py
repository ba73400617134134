"""Where the changes of the current work come from: the way, and the client's address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django_q import signals as task_signals
from django_structlog import signals as request_signals

from cloudtrain_site.audit.models import AuditSource
from cloudtrain_site.serving import page_owner
from cloudtrain_site.states import Source


@dataclass(frozen=True, slots=True)
class Origin:
    source: str
    #: Empty outside of a request.
    address: str = ""


#: What runs outside of requests and tasks is a command.
_COMMAND = Origin(AuditSource.COMMAND)
_current: ContextVar[Origin] = ContextVar("audit_origin", default=_COMMAND)


#: The sources of changes of jobs, by those of the current work; others come over the API.
_SOURCES: dict[str, Source] = {
    AuditSource.PAGE: Source.DASHBOARD,
    AuditSource.ADMIN: Source.ADMIN,
    AuditSource.COMMAND: Source.COMMAND,
    AuditSource.LOOP: Source.LOOP,
}


def current_origin() -> Origin:
    return _current.get()


def current_source() -> Source:
    """Return the source of changes of jobs in the current work."""
    return _SOURCES.get(current_origin().source, Source.API)


def connect_origins() -> None:
    """Take the origin from each request and each background task. To be called once all apps are loaded."""
    # django-structlog sends it in the request's own context, in which the view runs too.
    request_signals.bind_extra_request_metadata.connect(_bind_request, dispatch_uid="cloudtrain.audit_request")
    task_signals.pre_execute.connect(_bind_task, dispatch_uid="cloudtrain.audit_task")
    task_signals.post_execute_in_worker.connect(_end_task, dispatch_uid="cloudtrain.audit_task_end")


def _bind_request(request: HttpRequest, **kwargs: Any) -> None:
    # Behind a trusted proxy `web.py` has put the client's address there.
    address = str(request.META.get("REMOTE_ADDR") or "")
    _current.set(Origin(_source_of(request), address[:45]))


def _bind_task(task: dict[str, Any], **kwargs: Any) -> None:
    if not task.get("sync"):  # or else it runs inside the work that enqueued it, whose origin it has
        _current.set(Origin(AuditSource.LOOP))


def _end_task(task: dict[str, Any], **kwargs: Any) -> None:
    if not task.get("sync"):
        _current.set(_COMMAND)


@contextmanager
def coming_from(source: AuditSource) -> Iterator[None]:
    """Record the changes of a block with another source and the same address: those of single sign-on, say."""
    before = _current.get()
    _current.set(Origin(source, before.address))
    try:
        yield
    finally:
        _current.set(before)


def _source_of(request: HttpRequest) -> AuditSource:
    if request.path.startswith("/api/"):
        # A request with the header of our pages' scripts is refused unless its session is their reader's.
        return AuditSource.PAGE if page_owner.HEADER in request.headers else AuditSource.API
    return AuditSource.ADMIN if request.path.startswith("/admin/") else AuditSource.PAGE
