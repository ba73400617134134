"""The pages that people look at: the list of jobs, live over the event stream, and the door to it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from jobs.access import AnyUser, organizations_of
from jobs.models import JobQuerySet
from jobs.page_rows import make_rows
from jobs.page_tabs import make_tabs
from jobs.places import frame, place_for
from jobs.queries import filter_jobs
from jobs.roles import SUBMITTERS
from jobs.serializers import JobListQuery

PAGE_SIZE = 50
#: More than a list shows, and still a short address.
MOST_ROWS_AT_ONCE = 100
ID_LENGTH = 26

#: What of the address says which jobs are listed; the cursor says from where on.
FILTERS = ("status", "provider", "job_type", "organization", "search")

log_in = LoginView.as_view(template_name="dashboard/login.html", redirect_authenticated_user=True)
log_out = LogoutView.as_view(next_page="login")


@never_cache
@login_required
@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    """The newest jobs that the reader may see, and from where on the page follows the event stream."""
    around = frame(request)  # before the jobs are read: whatever happens from here on, the stream brings
    wanted, is_understood = _wanted(request.GET)
    jobs = list(_listed(request.user, wanted)[: PAGE_SIZE + 1])
    rows = make_rows(jobs[:PAGE_SIZE], request.user)
    context = {
        **around,
        "rows": rows,
        "tabs": make_tabs(request.user, request.GET, wanted["status"]),
        "is_understood": is_understood,
        "search": wanted["search"],
        "kept": [(name, value) for name in FILTERS if name != "search" for value in request.GET.getlist(name)],
        "is_filtered": any(wanted[name] for name in FILTERS),
        "cursor": wanted["cursor"],
        "older": _address(request.GET, rows[-1].job.pk) if len(jobs) > PAGE_SIZE else None,
        "newest": _address(request.GET),
        "submits": not rows and organizations_of(request.user, SUBMITTERS).exists(),
        "submit_address": request.build_absolute_uri("/api/cloud/jobs/submit"),
    }
    return render(request, "dashboard/jobs.html", context)


@never_cache
@require_safe
def job_rows(request: HttpRequest) -> HttpResponse:
    """The asked rows of that list as they are now; those that don't belong into it (any more) are left out."""
    if not request.user.is_authenticated:
        # A redirect to the login page would look like an answer to the script that asks.
        return HttpResponse(status=401)
    wanted, _ = _wanted(request.GET)
    ids = [job_id for job_id in request.GET.getlist("id") if len(job_id) == ID_LENGTH and job_id.isalnum()]
    jobs = list(_listed(request.user, wanted).filter(pk__in=ids[:MOST_ROWS_AT_ONCE]))
    context: dict[str, Any] = {
        "rows": make_rows(jobs, request.user),
        "tabs": make_tabs(request.user, request.GET, wanted["status"]),
    }
    return render(request, "dashboard/_changes.html", context)


@never_cache
@require_safe
def session(request: HttpRequest) -> HttpResponse:
    """Whether the reader of a page is still signed in: 204, or 401."""
    return HttpResponse(status=204 if request.user.is_authenticated else 401)


@never_cache
@require_safe
def place_count(request: HttpRequest, name: str) -> HttpResponse:
    """The number beside a place of the bar, as it is now."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    place = place_for(request.user, name)
    if place is None:
        raise Http404
    return render(request, "dashboard/_place_count.html", {"place": place})


def _wanted(asked: QueryDict) -> tuple[dict[str, Any], bool]:
    """Which jobs the address asks for, and whether it could be understood; if not, all of them."""
    query = JobListQuery(data=asked)
    if query.is_valid():
        return query.validated_data, True
    fallback = JobListQuery(data={})
    fallback.is_valid(raise_exception=True)
    return fallback.validated_data, False


def _listed(user: AnyUser, wanted: dict[str, Any]) -> JobQuerySet:
    # A config may have a megabyte, and a line of the list shows none of it.
    jobs = filter_jobs(user, wanted).defer("config", "dataloader_config")
    return jobs.filter(pk__lt=wanted["cursor"]) if wanted["cursor"] else jobs


def _address(asked: QueryDict, cursor: str | None = None) -> str:
    """The same list, from its top or from below the job `cursor`."""
    query = QueryDict(mutable=True)
    for name in FILTERS:
        query.setlist(name, asked.getlist(name))
    if cursor:
        query["cursor"] = cursor
    return f"?{query.urlencode()}"
