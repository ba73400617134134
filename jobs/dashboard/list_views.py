"""The list of jobs, live over the event stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.gzip import gzip_page

from cloudtrain_site.conf.places import COMMAND
from jobs.dashboard.list_order import COST, DURATION, NAME, NEWEST, OLDEST, SORTS, STATUS
from jobs.dashboard.list_query import FILTERS, LED_BY, address_of, led_by, page_of, read_query, those_of
from jobs.dashboard.navigation import item_for, page, page_context, part
from jobs.dashboard.rows import make_rows
from jobs.dashboard.tag_views import offered_tags
from jobs.models import JobQuerySet
from jobs.permissions import Team, all_closed, listed_jobs_of, teams_of
from jobs.providers import label_of, names
from jobs.statuses import ACTIVE, AT_PROVIDER, JobStatus
from jobs.sync.discovery import joined, where_to_discover

PAGE_SIZE = 50
#: More than a list shows, and still a short address.
MAX_ROWS_PER_REQUEST = 100
ID_LENGTH = 26
#: What of the address the toolbar's fields don't change.
HIDDEN = ("status", "job_type", *LED_BY)


@gzip_page
@page
def job_list(request: HttpRequest) -> HttpResponse:
    """Render a page of the jobs that the reader may see."""
    around = page_context(request)  # before the jobs are read: the stream brings every later event
    query, is_understood = read_query(request.GET)
    teams: list[Team] = around["own_teams"]
    visible = listed_jobs_of(request.user, teams)
    jobs = page_of(visible, (request.user, teams), query, PAGE_SIZE + 1)
    rows = make_rows(jobs[:PAGE_SIZE], request.user, teams)
    context = {
        **around,
        "rows": rows,
        "tabs": make_tabs(visible, request.GET, query["status"]),
        "is_understood": is_understood,
        **_toolbar(request, query, teams),
        "led_by": led_by(query),
        "without_led_by": _without(request.GET, LED_BY),
        "is_filtered": any(query[name] for name in FILTERS),
        "cursor": query["cursor"],
        "older": address_of(request.GET, rows[-1].id) if len(jobs) > PAGE_SIZE else None,
        "newest": address_of(request.GET),
        "by": {sort: address_of(request.GET, sort=sort) for sort in (NAME, STATUS, COST, DURATION)},
        "by_age": address_of(request.GET, sort=OLDEST if query["sort"] == NEWEST else NEWEST),
        "command": COMMAND,
        "submit_address": request.build_absolute_uri("/api/cloud/jobs/submit"),
    }
    return render(request, "dashboard/jobs.html", context)


def _toolbar(request: HttpRequest, query: dict[str, Any], teams: list[Team]) -> dict[str, Any]:
    """Return the toolbar's choices, and the chosen ones."""
    return {
        "search": query["search"],
        "provider": query["provider"],
        "providers": [(name, label_of(name)) for name in names()],
        "team": query["organization"],
        "teams": [team.name for team in teams],
        "tag": query["tag"],
        "tags": offered_tags(teams, query["organization"]),
        "mine": query["mine"],
        "sort": query["sort"],
        "sorts": SORTS,
        "order": dict(SORTS)[query["sort"]],
        "kept": [(name, value) for name in HIDDEN for value in request.GET.getlist(name) if value],
        "discovers": joined([label_of(name) for name in where_to_discover()]),
        "submits": any(team.takes_jobs for team in teams),
        "closed": all_closed(teams),
    }


@gzip_page
@part
def job_rows(request: HttpRequest) -> HttpResponse:
    """Render the rows whose ids are in the address, without those that are not (or no longer) in the list."""
    query, _ = read_query(request.GET)
    teams = teams_of(request.user)
    visible = listed_jobs_of(request.user, teams)
    ids = [job_id for job_id in request.GET.getlist("id") if len(job_id) == ID_LENGTH and job_id.isalnum()]
    jobs = list(those_of(visible, (request.user, teams), query).filter(pk__in=ids[:MAX_ROWS_PER_REQUEST]))
    context: dict[str, Any] = {
        "rows": make_rows(jobs, request.user, teams),
        "tabs": make_tabs(visible, request.GET, query["status"]),
    }
    return render(request, "dashboard/_changes.html", context)


@part
def session(request: HttpRequest) -> HttpResponse:
    """Whether the reader of a page is still signed in: 204, or 401."""
    return HttpResponse(status=204)


@part
def item_count(request: HttpRequest, name: str) -> HttpResponse:
    """Render the number beside an item of the navigation."""
    item = item_for(request.user, name)
    if item is None:
        raise Http404
    return render(request, "dashboard/_item_count.html", {"item": item})


TABS: tuple[tuple[str, tuple[JobStatus, ...]], ...] = (
    ("All", ()),
    ("Waiting", (JobStatus.PENDING,)),
    ("Running", AT_PROVIDER),
    ("Completed", (JobStatus.COMPLETED,)),
    ("Failed", (JobStatus.FAILED,)),
    ("Cancelled", (JobStatus.CANCELLED,)),
)


@dataclass(frozen=True, slots=True)
class Tab:
    """One choice of statuses. `count` is the present number of its jobs; None: it is not counted."""

    label: str
    address: str
    is_current: bool
    count: int | None


def make_tabs(visible: JobQuerySet, current: QueryDict, statuses: Iterable[str]) -> list[Tab]:
    """Return the tabs over the `visible` jobs. Each keeps the address's other filters, and starts at the top."""
    counts = _active_counts(visible)
    chosen = set(statuses)
    return [
        Tab(
            label=label,
            address=_address(current, group),
            is_current=chosen == set(group),
            # The ended ones may be a hundred thousand: counting them costs a scan.
            count=sum(counts.get(status, 0) for status in group) if set(group) & set(ACTIVE) else None,
        )
        for label, group in TABS
    ]


def _active_counts(visible: JobQuerySet) -> dict[str, int]:
    groups = visible.active().order_by().values_list("status").annotate(Count("pk"))
    return dict(groups)


def _address(current: QueryDict, group: tuple[JobStatus, ...]) -> str:
    query = current.copy()
    query.setlist("status", list(group))
    return _without(query, ("id",))


def _without(current: QueryDict, names: Iterable[str]) -> str:
    """Return the same list without those filters, from its top."""
    query = current.copy()
    for name in ("cursor", *names):
        query.pop(name, None)
    return f"?{query.urlencode()}"
