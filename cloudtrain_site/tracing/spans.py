"""Spans of the site's work. Without an endpoint each call here returns at once, and imports nothing.

All spans of one correlation id are in one trace, whose id is made from it: those of a request, of the task that it
enqueued, of the call of a provider an hour later on another machine. So nothing is stored or sent to join them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from django.http import HttpRequest

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
INSTALL = "pip install 'cloudtrain[tracing]'"

Kind = Literal["internal", "server", "client", "consumer"]
Attributes = Mapping[str, str | int]

_OFF: AbstractContextManager[None] = nullcontext()


def problem() -> str:
    """Return why the environment's endpoint can't be used, as a sentence; empty: it can, or none is set."""
    if not _is_wanted():
        return ""
    if not os.environ[ENDPOINT].startswith(("http://", "https://")):
        return f"{ENDPOINT} must be http:// or https:// and a host: no traces are sent."
    if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") != "http/protobuf":
        return "Traces are sent by http/protobuf only, but OTEL_EXPORTER_OTLP_PROTOCOL is another protocol."
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        return f"{ENDPOINT} is set, but OpenTelemetry is not installed: no traces are sent."
    return ""


def _is_wanted() -> bool:
    return bool(os.environ.get(ENDPOINT)) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


@cache
def is_on() -> bool:
    """Whether spans are made. Read once in a process."""
    return _is_wanted() and not problem()


def span(name: str, attributes: Attributes | None = None, *, kind: Kind = "internal") -> AbstractContextManager[None]:
    """Make a span of the block, with the correlation id. An error that leaves it is named by its type alone."""
    if not is_on():
        return _OFF
    from cloudtrain_site.tracing import exporting

    return exporting.span(name, attributes or {}, kind)


def note(attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
    """Add to the span around the caller what its work has found out, and rename it."""
    if is_on():
        from cloudtrain_site.tracing import exporting

        exporting.note(attributes, name, failed)


def name_by_route(request: HttpRequest) -> None:
    """Name the request's span by the pattern of its address: the address itself may be a secret."""
    if is_on() and request.resolver_match is not None:
        route = f"/{request.resolver_match.route}"
        note({"http.route": route}, name=f"{request.method} {route}")


def send_last() -> None:
    """Send what the process has not sent yet, for a second at most. To be called at its end."""
    if is_on():
        from cloudtrain_site.tracing import exporting

        exporting.send_last()
