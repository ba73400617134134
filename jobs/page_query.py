"""What the address of the list asks for, and the jobs that this is: filtered, in order, from where the page begins."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.db.models.fields.tuple_lookups import Tuple, TupleLessThan
from django.http import QueryDict
from rest_framework import serializers

from jobs.access import AnyUser
from jobs.models import JobQuerySet
from jobs.queries import narrow
from jobs.serializers import JobListQuery

NEWEST, OLDEST, COST = "newest", "oldest", "cost"
#: The orders that an index holds, so that any page of them is found at once; a duration is in no index.
SORTS = ((NEWEST, "Newest first"), (OLDEST, "Oldest first"), (COST, "Most expensive first"))

#: What of the address says which jobs are listed, and how; the cursor says from where on.
FILTERS = ("status", "provider", "job_type", "organization", "mine", "search")
KEPT = (*FILTERS, "sort")


class PageQuery(JobListQuery):
    """What the API's list understands, and what only people ask for."""

    mine = serializers.BooleanField(default=False)
    sort = serializers.ChoiceField(choices=SORTS, default=NEWEST, allow_blank=True)


def read_query(asked: QueryDict) -> tuple[dict[str, Any], bool]:
    """Which jobs the address asks for, and whether it could be understood; if not, all of them."""
    query = PageQuery(data=asked)
    if query.is_valid():
        return {**query.validated_data, "sort": query.validated_data["sort"] or NEWEST}, True
    fallback = PageQuery(data={})
    fallback.is_valid(raise_exception=True)
    return fallback.validated_data, False


def page_of(visible: JobQuerySet, user: AnyUser, wanted: dict[str, Any]) -> JobQuerySet:
    """Those of the `visible` jobs that `user` asks for, from the cursor on, in their order."""
    jobs = narrow(visible, wanted)
    if wanted["mine"]:
        jobs = jobs.filter(submitted_by_id=user.pk or 0)
    # A config may have a megabyte, and a line of the list shows none of it.
    return _from_cursor(jobs, wanted["sort"], wanted["cursor"]).defer("config", "dataloader_config")


def _from_cursor(jobs: JobQuerySet, sort: str, cursor: str) -> JobQuerySet:
    if sort == COST:
        return _after_cost(jobs, cursor).order_by("-cost_usd", "-id")
    if sort == OLDEST:
        return (jobs.filter(pk__gt=cursor) if cursor else jobs).order_by("id")
    return (jobs.filter(pk__lt=cursor) if cursor else jobs).order_by("-id")


def _after_cost(jobs: JobQuerySet, cursor: str) -> JobQuerySet:
    """Those that come after the job `cursor`. One that the list doesn't have has nothing after it."""
    if not cursor:
        return jobs
    cost = jobs.order_by().filter(pk=cursor).values_list("cost_usd", flat=True).first()
    if cost is None:
        return jobs.none()
    # As a comparison of pairs the index leads straight to the place, however many cost the same; where the database has
    # none, the other condition leads at least to the first of these.
    return jobs.filter(TupleLessThan(Tuple(F("cost_usd"), F("id")), (cost, cursor)), cost_usd__lte=cost)


def address_of(asked: QueryDict, cursor: str | None = None) -> str:
    """The same list, from its top or from after the job `cursor`."""
    query = QueryDict(mutable=True)
    for name in KEPT:
        values = [value for value in asked.getlist(name) if value]
        if values:
            query.setlist(name, values)
    if cursor:
        query["cursor"] = cursor
    return f"?{query.urlencode()}"
