"""The audit record as a CSV file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.serving.csv_streams import csv_response

COLUMNS = (
    *("at", "actor", "action", "subject_kind", "subject_id", "subject", "organization"),
    *("before", "after", "source", "address", "correlation_id"),
)


def export(records: QuerySet[AuditRecord], filename: str = "audit.csv") -> StreamingHttpResponse:
    """Return `records` as a download, newest first."""
    return csv_response(filename, COLUMNS, _rows(records.order_by("-pk")))


def _rows(records: QuerySet[AuditRecord]) -> Iterator[list[Any]]:
    for record in records.iterator(chunk_size=1000):
        yield [_cell(getattr(record, name)) for name in COLUMNS]


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False) if isinstance(value, dict | list) else value
