"""The list of jobs, live over the event stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.gzip import gzip_page

from cloudtrain_site.accounts.preferences import preferences_of
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.wording.values import money
from jobs.dashboard.list_query import address_of, found_by, page_of, read_query, those_of
from jobs.dashboard.listing.chips import chips_of, without
from jobs.dashboard.listing.columns import COLUMNS, columns_of, with_cells
from jobs.dashboard.listing.panel import panel_context
from jobs.dashboard.listing.totals import totals_of
from jobs.dashboard.navigation import item_for, page, page_context, part
from jobs.dashboard.rows import make_rows
from jobs.extensions import list_acts
from jobs.finding.orders import COST, DURATION, LOSS, NAME, NEWEST, OLDEST, SORTS, STATUS
from jobs.models import JobQuerySet
from jobs.organizations.saved_lists import views_for
from jobs.permissions import Team, all_closed, listed_jobs_of, teams_of
from jobs.providers import label_of
from jobs.queries import LIST_FILTERS
from jobs.roles import SUBMITTERS
from jobs.statuses import ACTIVE, AT_PROVIDER, GROUP_LABELS, JobStatus
from jobs.sync.discovery import joined, where_to_discover

PAGE_SIZE = 50
#: More than a list shows, and still a short address.
MAX_ROWS_PER_REQUEST = 100
ID_LENGTH = 26
#: Less would be shown as 0.0 h.
SHOWN_HOURS = 0.05
#: The events after which the list may differ, for `data-live`.
EVENTS = "job_status_changed job_cost_warning approval_requested approval_approved approval_rejected approval_expired"


@gzip_page
@page
def job_list(request: HttpRequest) -> HttpResponse:
    """Render a page of the jobs that the reader may see."""
    around = page_context(request)  # before the jobs are read: the stream brings every later event
    teams: list[Team] = around["own_teams"]
    query, is_understood = read_query(request.GET, around["time_zone"])
    context = {
        **around,
        **_view(request, query, teams, around["list_columns"]),
        "is_understood": is_understood,
        "search": query["search"],
        **_submitting(teams),
        "discovers": joined([label_of(name) for name in where_to_discover()]),
        "events": EVENTS,
        # Who may do none of it to any job has no ticks to do it with.
        "acts": list_acts.items() if any(team.role in SUBMITTERS for team in teams) else (),
    }
    return render(request, "dashboard/jobs.html", context)


@gzip_page
@part
def job_rows(request: HttpRequest) -> HttpResponse:
    """Render the list that the address asks for; with `id`s in it, only those rows, if the list has each of them."""
    preferences, teams = preferences_of(request.user), teams_of(request.user)
    query, is_understood = read_query(request.GET, preferences.time_zone)
    if ids := _row_ids(request.GET):
        visible = listed_jobs_of(request.user, teams)
        jobs = list(those_of((request.user, teams), query).filter(pk__in=ids))
        if len(jobs) == len(ids):
            columns = columns_of(query["columns"] or preferences.list_columns, query["sort"])
            context = {
                "names_organization": _names_organization(query, teams, columns),
                "rows": with_cells(make_rows(jobs, request.user, teams, with_tags="tags" in columns), jobs, columns),
                "tabs": make_tabs(visible, request.GET, query["status"]),
            }
            return render(request, "dashboard/_changes.html", {**context, "is_part": True})
    context = {"own_teams": teams, **_submitting(teams), "is_understood": is_understood}
    answer = render(
        request, "dashboard/_jobs_view.html", {**context, **_view(request, query, teams, preferences.list_columns)}
    )
    answer["HX-Reswap"] = "innerMorph"  # where rows alone were expected
    return answer


def _row_ids(parameters: QueryDict) -> set[str]:
    ids = [job_id for job_id in parameters.getlist("id") if len(job_id) == ID_LENGTH and job_id.isalnum()]
    return set(ids[:MAX_ROWS_PER_REQUEST])


def _view(request: HttpRequest, query: dict[str, Any], teams: Sequence[Team], preferred: str) -> dict[str, Any]:
    """Return the context of the list and of what stands around it: all that a change of the address changes."""
    visible = listed_jobs_of(request.user, teams)
    jobs = page_of((request.user, teams), query, PAGE_SIZE + 1)
    columns = columns_of(query["columns"] or preferred, query["sort"])
    shown = jobs[:PAGE_SIZE]
    rows = with_cells(make_rows(shown, request.user, teams, with_tags="tags" in columns), shown, columns)
    parameters = request.GET
    is_narrowed = bool(query["cursor"]) or any(query[name] for name in LIST_FILTERS)
    return {
        "rows": rows,
        "hides_all": is_narrowed and not rows and visible.exists(),
        "names_organization": _names_organization(query, teams, columns),
        "columns": [(COLUMNS[name].label, name == LOSS) for name in columns],
        "views": views_for(request.user, teams),
        "tabs": make_tabs(visible, parameters, query["status"]),
        "chips": chips_of(query, parameters),
        "only_mine": None if query["mine"] else address_of(parameters, mine="true"),
        "sort": query["sort"],
        "order": dict(SORTS)[query["sort"]],
        "cursor": query["cursor"],
        "last_id": rows[-1].id if rows else "",
        "older": address_of(parameters, rows[-1].id) if len(jobs) > PAGE_SIZE else None,
        "newest": address_of(parameters),
        "by": {sort: address_of(parameters, sort=sort) for sort in (NAME, STATUS, COST, DURATION, LOSS)},
        "by_age": address_of(parameters, sort=OLDEST if query["sort"] == NEWEST else NEWEST),
        "command": COMMAND,
        "submit_address": request.build_absolute_uri("/api/cloud/jobs/submit"),
    }


def _names_organization(query: dict[str, Any], teams: Sequence[Team], columns: Sequence[str]) -> bool:
    """Whether rows name it beside the job's number, which counts within it: the reader has jobs of several in view."""
    return len(teams) > 1 and not query["organization"] and "organization" not in columns


def _submitting(teams: Sequence[Team]) -> dict[str, Any]:
    return {"submits": any(team.takes_jobs for team in teams), "closed": all_closed(teams)}


@part
def job_totals(request: HttpRequest) -> HttpResponse:
    """Render how many jobs the list of this address has, what they cost and how long they ran."""
    query, _ = read_query(request.GET, preferences_of(request.user).time_zone)
    teams = teams_of(request.user)
    totals = totals_of(found_by((request.user, teams), query))
    hours = f"{totals.hours:,.1f}" if totals.hours >= SHOWN_HOURS else ""
    texts = {"jobs": f"{totals.jobs:,}", "cost": money(totals.cost_usd), "hours": hours}
    return render(request, "dashboard/_totals.html", {"totals": totals, **texts})


@part
def list_panel(request: HttpRequest) -> HttpResponse:
    """Render the form of the list's filters, as this address has them."""
    query, _ = read_query(request.GET, preferences_of(request.user).time_zone)
    return render(request, "dashboard/_list_panel.html", panel_context(request, query, teams_of(request.user)))


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
    (GROUP_LABELS[JobStatus.PENDING], (JobStatus.PENDING,)),
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
    # SQLite takes the index of open jobs by this alone.
    groups = visible.active().filter(completed_at=None).order_by().values_list("status").annotate(Count("pk"))
    return dict(groups)


def _address(current: QueryDict, group: tuple[JobStatus, ...]) -> str:
    query = current.copy()
    query.setlist("status", list(group))
    return without(query, ())
