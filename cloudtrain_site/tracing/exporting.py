"""Makes spans with OpenTelemetry's SDK and sends them by OTLP. Imported while traces are on.

None of the library's instrumentations is used: they begin a span before the correlation id is there, and store whole
addresses, which here may be secrets (a link of a mail, a chat's webhook, a signed download).
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing.util import Finalize

from django.conf import settings
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from cloudtrain_site import __version__
from cloudtrain_site.correlation_ids import get_correlation_id

ATTRIBUTE = "correlation_id"
#: A collector that is away is logged once in this time.
QUIET_SECONDS = 300.0
#: A stop waits this long for a collector that does not answer.
LAST_MILLISECONDS = 1000
#: Five seconds by default: what a killed process has not sent is lost.
DELAY_VARIABLE, DELAY_MILLISECONDS = "OTEL_BSP_SCHEDULE_DELAY", "1000"


def trace_id_of(correlation_id: str) -> int:
    return int.from_bytes(hashlib.sha256(correlation_id.encode()).digest()[:16])


class _TraceIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return trace_id_of(get_correlation_id())


class _Rarely(logging.Filter):
    """Lets a line of the exporter through once in QUIET_SECONDS, as a warning: the site works without a collector."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() < self._quiet_until:
            return False
        self._quiet_until = time.monotonic() + QUIET_SECONDS
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
        return True


@cache
def _provider() -> TracerProvider:
    """Return this process's own. Made at its first span, and so after the fork of a worker."""
    os.environ.setdefault(DELAY_VARIABLE, DELAY_MILLISECONDS)
    rarely = _Rarely()
    for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal"):
        logging.getLogger(name).addFilter(rarely)
    host = socket.gethostname()
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or "cloudtrain",
            "service.version": __version__,
            "service.instance.id": f"{host}-{settings.ROLE}",
            "host.name": host,
        }
    )
    provider = TracerProvider(resource=resource, id_generator=_TraceIds(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    # Not atexit, which the library uses: a worker of django-q2 ends without it.
    Finalize(None, send_last, exitpriority=0)
    return provider


os.register_at_fork(after_in_child=_provider.cache_clear)


@contextmanager
def span(name: str, attributes: Mapping[str, str | int], kind: str) -> Iterator[None]:
    correlation_id = get_correlation_id()
    around = trace.get_current_span().get_span_context()
    is_within = around.is_valid and around.trace_id == trace_id_of(correlation_id)
    with (
        _provider()
        .get_tracer("cloudtrain", __version__)
        .start_as_current_span(
            name,
            # Work for one job within a pass for many is in the trace of the job, with a link to the pass.
            context=None if is_within else Context(),
            links=None if is_within or not around.is_valid else [Link(around)],
            kind=SpanKind[kind.upper()],
            attributes={**attributes, ATTRIBUTE: correlation_id},
            # Messages of errors repeat addresses and what was submitted.
            record_exception=False,
            set_status_on_exception=False,
        )
    ):
        try:
            yield
        except BaseException as error:
            note({"error.type": type(error).__name__}, "", failed=True)
            raise


def note(attributes: Mapping[str, str | int], name: str, failed: bool) -> None:
    current = trace.get_current_span()
    current.set_attributes(attributes)
    if name:
        current.update_name(name)
    if failed:
        current.set_status(Status(StatusCode.ERROR))


def send_last() -> None:
    if _provider.cache_info().currsize:
        for processor in _provider()._active_span_processor._span_processors:
            assert isinstance(processor, BatchSpanProcessor)
            processor._batch_processor.shutdown(LAST_MILLISECONDS)
