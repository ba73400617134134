"""Reads the list's address, and finds its jobs: filtered, in order, from the beginning of the page."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Max, Min
from django.http import QueryDict
from rest_framework import serializers

from cloudtrain_site.accounts.preferences import time_zones
from jobs.api.serializers import JobFilters
from jobs.dashboard.listing.periods import PERIODS, created_span
from jobs.finding.orders import NEWEST, SORTS, STATUS, those_after
from jobs.finding.pages import Found, Reader, found_for, organizations_seen
from jobs.finding.search import Criterion, those_with
from jobs.identifiers import Span
from jobs.models import DayCost, Job, JobQuerySet
from jobs.queries import LIST_FILTERS, LIST_PARAMETERS, by_own_columns, criteria_of
from jobs.statuses import ACTIVE, JobStatus

#: The tab's word for it.
WAITING = "waiting"
#: No job was made, and no training ran, outside of these years.
FIRST_YEAR, LAST_YEAR = 2000, 2200

#: Of the costs of as many days at most, the first and the last job are looked for.
MOST_DAYS = timedelta(days=60)

#: What a line of the list shows, or is made from. A config may have a megabyte, and none of it is shown.
SHOWN = (
    *(
        "id",
        "number",
        "note",
        "organization",
        "submitted_by__username",
        "provider",
        "hardware_profile",
        "config_name",
        "status",
    ),
    *("stage", "progress", "step", "total_steps", "last_loss", "cost_usd", "cost_doubt"),
    *("estimated_cost_usd", "estimated_cost_low_usd", "provider_waiting_reason", "error_line"),
    *("created_at", "started_at", "completed_at", "duration_ms", "cancel_requested_at", "cancel_requested_by"),
)

#: The filters that are no columns of a job.
WITH_CRITERIA = ("organization", "tag", "search", "cost_from", "cost_to")


class StatusField(serializers.MultipleChoiceField):
    """Statuses, and the word of the tab for one of them."""

    def to_internal_value(self, data: Any) -> Any:
        statuses: Any = [JobStatus.PENDING if one == WAITING else one for one in data]
        return super().to_internal_value(statuses)


class DayField(serializers.DateField):
    """A day of these centuries."""

    def to_internal_value(self, value: Any) -> date:
        day: date = super().to_internal_value(value)
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise serializers.ValidationError("No jobs on that day.")
        return day


class PageQuery(JobFilters):
    """What the API's list understands, and what only people ask for. A page takes what else stands in its address."""

    status = StatusField(choices=JobStatus.choices, default=set)
    mine = serializers.BooleanField(default=False)
    person = serializers.CharField(max_length=150, default="", allow_blank=True)
    hardware = serializers.CharField(max_length=40, default="", allow_blank=True)
    #: Days, both included, on which a job has cost something.
    cost_from = DayField(default=None)
    cost_to = DayField(default=None)
    #: Days, both included, on which a job was created, in the time zone `zone`.
    period = serializers.ChoiceField(choices=PERIODS, default="", allow_blank=True)
    created_from = DayField(default=None)
    created_to = DayField(default=None)
    zone = serializers.ChoiceField(choices=[(zone, zone) for zone in time_zones()], default="", allow_blank=True)
    columns = serializers.CharField(max_length=200, default="", allow_blank=True)
    sort = serializers.ChoiceField(choices=SORTS, default=NEWEST, allow_blank=True)


def read_query(parameters: QueryDict, zone: str = "") -> tuple[dict[str, Any], bool]:
    """Which jobs the address asks for, and whether it could be understood; if not, all of them.

    `zone` is the reader's time zone, for an address that names none.
    """
    # An empty field of a form is no filter.
    query = PageQuery(data=_filled(parameters))
    is_understood = query.is_valid()
    if not is_understood:
        query = PageQuery(data={})
        query.is_valid(raise_exception=True)
    found = query.validated_data
    return {**found, "sort": found["sort"] or NEWEST, "zone": found["zone"] or zone or "UTC"}, is_understood


def _filled(parameters: QueryDict) -> QueryDict:
    query = QueryDict(mutable=True)
    for name, values in parameters.lists():
        if filled := [value for value in values if value]:
            query.setlist(name, filled)
    return query


def page_of(reader: Reader, query: dict[str, Any], count: int) -> list[Job]:
    """The first `count` jobs that `reader` sees and asks for, from the cursor on, in their order."""
    return found_by(reader, query).page(_as_shown, _order_of(query), query["cursor"], count)


def those_of(reader: Reader, query: dict[str, Any]) -> JobQuerySet:
    """All of these jobs, to find out which of some belong to them."""
    return those_after(_as_shown(found_by(reader, query).seen), _order_of(query), query["cursor"])


def _order_of(query: dict[str, Any]) -> str:
    """Return the order that the query asks for; of one status alone, by status is by age, which is found sooner."""
    is_of_one = query["sort"] == STATUS and len(query["status"]) == 1
    return NEWEST if is_of_one else str(query["sort"])


def _as_shown(jobs: JobQuerySet) -> JobQuerySet:
    return jobs.select_related("organization", "submitted_by").with_beginnings().only(*SHOWN)


def found_by(reader: Reader, query: dict[str, Any]) -> Found:
    """Return the jobs that `reader` sees and that match the query."""
    user, _ = reader
    jobs, span = by_own_columns(Job.objects.kept(), query), created_span(query)
    criteria = criteria_of(query, organizations_seen(reader, query["organization"]), span)
    people = [user.pk or 0] if query["mine"] else []
    if query["mine"]:
        jobs = jobs.filter(submitted_by_id=people[0])
    if query["person"]:
        # By their number, as organizations are.
        people = list(User.objects.filter(username=query["person"]).values_list("pk", flat=True))
        jobs = jobs.filter(submitted_by__in=people)
    if query["hardware"]:
        # Pages say CPU.
        jobs = jobs.filter(hardware_profile__in={query["hardware"], query["hardware"].lower()})
    if query["cost_from"] or query["cost_to"]:
        costs, span = _with_costs(query["cost_from"] or date.min, query["cost_to"] or date.max, span)
        criteria.append(costs)
    is_narrowed = any(query[name] for name in LIST_FILTERS if name not in WITH_CRITERIA)
    are_open = bool(query["status"]) and set(query["status"]) <= set(ACTIVE)
    return found_for(reader, jobs, criteria, query["organization"], is_narrowed, span, people=people, are_open=are_open)


def _with_costs(first: date, last: date, span: Span) -> tuple[Criterion, Span]:
    """Return the criterion that a job has cost something on these days, and the span of such jobs within `span`."""
    rows = DayCost.objects.filter(span.of("job"), day__range=(first, last))
    costs = those_with(rows)
    # For longer, the ends of their span are not worth reading all of the days for.
    if not costs.is_few and last - first <= MOST_DAYS:
        ends = rows.aggregate(first=Min("job"), last=Max("job"))
        span = Span(ends["first"], f"{ends['last']}0")  # its last is one of them
    return costs, span


def address_of(
    parameters: QueryDict, cursor: str | None = None, sort: str | None = None, mine: str | None = None
) -> str:
    """The same list, from its top or from after the job `cursor`; with another `sort` or `mine`, if there is one."""
    query = QueryDict(mutable=True)
    for name in LIST_PARAMETERS:
        values = [value for value in parameters.getlist(name) if value]
        if values:
            query.setlist(name, values)
    if sort:
        query["sort"] = sort
    if mine:
        query["mine"] = mine
    if cursor:
        query["cursor"] = cursor
    return f"?{query.urlencode()}"
