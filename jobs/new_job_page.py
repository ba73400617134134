"""The page on which a job is made: its config, where it runs, its dataset, and what it would come to."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from jobs.access import organizations_of
from jobs.dashboard.navigation import frame
from jobs.page_kinds import page
from jobs.roles import SUBMITTERS


@page
def new_job(request: HttpRequest) -> HttpResponse:
    """The form. Everything else on it is asked of the API, and sent to it."""
    around = frame(request)
    teams = list(organizations_of(request.user, SUBMITTERS).values_list("name", flat=True))
    if not teams:
        raise PermissionDenied
    return render(request, "dashboard/new_job.html", {**around, "teams": teams})
