"""The days on which the listed jobs were created, in the reader's time zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from jobs.identifiers import Span, first_id_at

TODAY, WEEK, MONTH, THIS_MONTH, LAST_MONTH = "today", "7d", "30d", "month", "last-month"
PERIODS = (
    (TODAY, "Today"),
    (WEEK, "Last 7 days"),
    (MONTH, "Last 30 days"),
    (THIS_MONTH, "This month"),
    (LAST_MONTH, "Last month"),
)
A_DAY = timedelta(days=1)


def days_of(query: Mapping[str, Any], now: datetime) -> tuple[date | None, date | None]:
    """Return the first and the last day, both included, of the query's period, or else of its own days."""
    today = now.astimezone(ZoneInfo(query["zone"])).date()
    first = today.replace(day=1)
    match query["period"]:
        case "today":
            return today, None
        case "7d":
            return today - 6 * A_DAY, None
        case "30d":
            return today - 29 * A_DAY, None
        case "month":
            return first, None
        case "last-month":
            return (first - A_DAY).replace(day=1), first - A_DAY
    return query["created_from"], query["created_to"]


def created_span(query: Mapping[str, Any]) -> Span:
    """Return the ids of jobs that were created on these days. They begin with the time and are in an index."""
    start, end = days_of(query, timezone.now())
    return Span(
        _first_id_of(start, query["zone"]) if start else "", _first_id_of(end + A_DAY, query["zone"]) if end else ""
    )


def _first_id_of(day: date, zone: str) -> str:
    return first_id_at(datetime.combine(day, time(), ZoneInfo(zone)))


def period_text(query: Mapping[str, Any]) -> str:
    """Return the days in words, like "Last 7 days" or "1 Nov 2025 to 30 Nov 2025"; empty: any day."""
    if query["period"]:
        return dict(PERIODS)[query["period"]]
    start, end = (f"{day.day} {day:%b %Y}" if day else "" for day in (query["created_from"], query["created_to"]))
    return f"{start} to {end}" if start and end else f"since {start}" if start else f"until {end}" if end else ""
