"""Reads the list's address, and finds its jobs: filtered, in order, from the beginning of the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.contrib.auth.models import User
from django.http import QueryDict
from rest_framework import serializers

from jobs.api.serializers import JobFilters
from jobs.dashboard.list_order import NEWEST, SORTS, first_of, in_order
from jobs.models import DayCost, Job, JobQuerySet
from jobs.permissions import AnyUser, Team
from jobs.queries import narrow

#: What of the address says which jobs are listed, and how; the cursor says from where on.
FILTERS = (
    *("status", "provider", "job_type", "organization", "tag", "mine", "search"),
    *("person", "hardware", "cost_from", "cost_to"),
)
#: The toolbar has no field for these filters: links from other pages set them.
LED_BY = ("person", "hardware", "cost_from", "cost_to")
KEPT = (*FILTERS, "sort")

#: What a line of the list shows, or is made from. A config may have a megabyte, and none of it is shown.
SHOWN = (
    *("id", "organization", "submitted_by__username", "provider", "hardware_profile", "config_name", "status"),
    *("stage", "progress", "step", "total_steps", "cost_usd", "cost_doubt"),
    *("estimated_cost_usd", "estimated_cost_low_usd", "provider_waiting_reason", "error_line"),
    *("created_at", "started_at", "completed_at", "duration_ms", "cancel_requested_at", "cancel_requested_by"),
)

#: Who looks at the list, and the organizations that are theirs.
Reader = tuple[AnyUser, Sequence[Team]]


class PageQuery(JobFilters):
    """What the API's list understands, and what only people ask for. A page takes what else stands in its address."""

    mine = serializers.BooleanField(default=False)
    person = serializers.CharField(max_length=150, default="", allow_blank=True)
    hardware = serializers.CharField(max_length=40, default="", allow_blank=True)
    #: Days, both included, on which a job has cost something.
    cost_from = serializers.DateField(default=None)
    cost_to = serializers.DateField(default=None)
    sort = serializers.ChoiceField(choices=SORTS, default=NEWEST, allow_blank=True)


def read_query(parameters: QueryDict) -> tuple[dict[str, Any], bool]:
    """Which jobs the address asks for, and whether it could be understood; if not, all of them."""
    query = PageQuery(data=parameters)
    if query.is_valid():
        return {**query.validated_data, "sort": query.validated_data["sort"] or NEWEST}, True
    fallback = PageQuery(data={})
    fallback.is_valid(raise_exception=True)
    return fallback.validated_data, False


def page_of(visible: JobQuerySet, reader: Reader, query: dict[str, Any], count: int) -> list[Job]:
    """The first `count` of the `visible` jobs that `reader` asks for, from the cursor on, in their order."""
    return first_of(_filtered(visible, reader, query), query["sort"], query["cursor"], count)


def those_of(visible: JobQuerySet, reader: Reader, query: dict[str, Any]) -> JobQuerySet:
    """All of these jobs, to find out which of some belong to them."""
    return in_order(_filtered(visible, reader, query), query["sort"], query["cursor"])


def _filtered(visible: JobQuerySet, reader: Reader, query: dict[str, Any]) -> JobQuerySet:
    user, teams = reader
    if query["organization"]:
        # By its number, so that the database still walks an index in the list's order, which it doesn't after a join.
        visible = visible.filter(organization__in=[team.id for team in teams if team.name == query["organization"]])
    jobs = narrow(visible, {**query, "organization": ""})
    if query["mine"]:
        jobs = jobs.filter(submitted_by_id=user.pk or 0)
    return _led_to(jobs, query).with_beginnings().only(*SHOWN)


def _led_to(jobs: JobQuerySet, query: dict[str, Any]) -> JobQuerySet:
    """Narrow the jobs by what other pages lead here with."""
    if query["person"]:
        # By their number, as organizations are.
        people = User.objects.filter(username=query["person"]).values_list("pk", flat=True)
        jobs = jobs.filter(submitted_by__in=list(people))
    if query["hardware"]:
        jobs = jobs.filter(hardware_profile=query["hardware"])
    if query["cost_from"] or query["cost_to"]:
        days = DayCost.objects.filter(day__range=(query["cost_from"] or date.min, query["cost_to"] or date.max))
        jobs = jobs.filter(pk__in=days.values("job"))
    return jobs


def led_by(query: dict[str, Any]) -> str:
    """Return as a sentence what of LED_BY the query has; empty: nothing."""
    start, end = query["cost_from"], query["cost_to"]
    days = f"from {start} to {end}" if start and end else f"since {start}" if start else f"until {end}" if end else ""
    parts = [
        f"by {query['person']}" if query["person"] else "",
        f"on {query['hardware']}" if query["hardware"] else "",
        f"that cost something {days}" if days else "",
    ]
    found = ", ".join(filter(None, parts))
    return f"Only jobs {found}." if found else ""


def address_of(parameters: QueryDict, cursor: str | None = None, sort: str | None = None) -> str:
    """The same list, from its top or from after the job `cursor`; in another order, if `sort` says one."""
    query = QueryDict(mutable=True)
    for name in KEPT:
        values = [value for value in parameters.getlist(name) if value]
        if values:
            query.setlist(name, values)
    if sort:
        query["sort"] = sort
    if cursor:
        query["cursor"] = cursor
    return f"?{query.urlencode()}"
