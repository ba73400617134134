"""Filters that add to log records before they are formatted."""

from __future__ import annotations

import logging

from cloudtrain_site.correlation_ids import current_correlation_id, process_correlation_id
from cloudtrain_site.structured_logging.context import context_fields
from cloudtrain_site.structured_logging.formatters import safe_repr


class CorrelationIDFilter(logging.Filter):
    """Puts the logging work's correlation id on each record, for all formatters and handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass. An id on the record itself, as from `extra`, wins, then that of a `LogContext`."""
        record.correlation_id = (
            _as_text(record.__dict__.get("correlation_id"))
            or _as_text(context_fields().get("correlation_id"))
            or current_correlation_id()
            # Django logs its 4xx lines after the request's context has ended, but with the request.
            or getattr(record.__dict__.get("request"), "correlation_id", None)
            or process_correlation_id()
        )
        return True


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else safe_repr(value)
