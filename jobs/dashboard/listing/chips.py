"""The filters of the list as chips, each with the address of the list without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from jobs.dashboard.listing.periods import period_text
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from jobs.statuses import GROUP_LABELS, JobStatus


@dataclass(frozen=True, slots=True)
class Chip:
    label: str
    value: str
    #: The same list without this filter, from its top.
    without: str


def chips_of(query: Mapping[str, Any], parameters: QueryDict) -> list[Chip]:
    """Return a chip for each filter that the query has."""
    statuses = [GROUP_LABELS[status] for status in JobStatus if status in query["status"]]
    found = [
        ("Status", ", ".join(statuses), ("status",)),
        ("Person", "me" if query["mine"] else "", ("mine",)),
        ("Provider", label_of(query["provider"]) if query["provider"] else "", ("provider",)),
        ("Runs", {"local": "here", "cloud": "elsewhere"}.get(query["job_type"], ""), ("job_type",)),
        ("Organization", query["organization"], ("organization",)),
        ("Person", query["person"], ("person",)),
        ("Hardware", hardware_label(query["hardware"]), ("hardware",)),
        ("Created", period_text(query), ("period", "created_from", "created_to", "zone")),
        ("Cost", _cost_days(query), ("cost_from", "cost_to")),
        ("Tag", query["tag"], ("tag",)),
        ("Search", query["search"], ("search",)),
    ]
    return [Chip(label, value, without(parameters, names)) for label, value, names in found if value]


def _cost_days(query: Mapping[str, Any]) -> str:
    start, end = query["cost_from"], query["cost_to"]
    return f"from {start} to {end}" if start and end else f"since {start}" if start else f"until {end}" if end else ""


def without(parameters: QueryDict, names: Iterable[str]) -> str:
    """Return the address of the same list without those filters, from its top."""
    query = parameters.copy()
    for name in ("cursor", "id", *names):
        query.pop(name, None)
    return f"?{query.urlencode()}"
