"""The check of the traces' collector."""

from __future__ import annotations

from collections.abc import Iterator

from cloudtrain_site.doctor.findings import Finding, ok, skipped, warn
from cloudtrain_site.tracing import spans

TIMEOUT_SECONDS = 3.0


def arrive() -> Iterator[Finding]:
    """Check that the collector takes an empty batch, with our headers and certificates."""
    if not spans.is_on():
        yield skipped(spans.problem() or f"No traces are sent ({spans.ENDPOINT}).")
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    if OTLPSpanExporter(timeout=TIMEOUT_SECONDS).export(()) is SpanExportResult.SUCCESS:
        yield ok("The collector accepts traces.")
    else:
        remedy = f"Start the collector, or correct {spans.ENDPOINT} and OTEL_EXPORTER_OTLP_HEADERS"
        yield warn("The collector accepts no traces: they are dropped.", remedy)
