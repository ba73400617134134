"""What is put on log records before they are formatted."""

from __future__ import annotations

import logging

from cloudtrain_site.correlation_ids import current_correlation_id, process_correlation_id
from cloudtrain_site.structured_logging.context import context_fields
from cloudtrain_site.structured_logging.formatters import safe_repr


class CorrelationIDFilter(logging.Filter):
    """Puts the correlation id of the work that logs on each record, for the formatters and for handlers of others."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass. One that has an id, as by `extra`, keeps it; then that of a `LogContext` counts."""
        record.correlation_id = (
            _as_text(record.__dict__.get("correlation_id"))
            or _as_text(context_fields().get("correlation_id"))
            or current_correlation_id()
            # Django logs its 4xx lines when the request's context is over, but gives us the request.
            or getattr(record.__dict__.get("request"), "correlation_id", None)
            or process_correlation_id()
        )
        return True


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else safe_repr(value)
