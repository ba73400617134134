"""The page of a new job, empty or filled in with another job's submission."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from jobs.dashboard.job_views import job_of
from jobs.dashboard.navigation import page, page_context
from jobs.dashboard.tag_views import tags_by_team
from jobs.models import Job, Organization
from jobs.organizations.settings import FALLBACK_PROVIDER
from jobs.permissions import organizations_of
from jobs.roles import SUBMITTERS
from jobs.runs.prefill import may_run_again, next_run_of
from jobs.tags.tagging import tags_by_job

NO_ORGANIZATION = "This job was made elsewhere and belongs to no organization: it can't be run again here."
NOT_ALLOWED = "You may look at this job, but not submit for its organization."


@page
def new_job(request: HttpRequest) -> HttpResponse:
    """Render the form. Its script reads everything else from the API, and submits to it."""
    around = page_context(request)
    teams = list(organizations_of(request.user, SUBMITTERS).filter(closed_at=None))
    if not teams:
        raise PermissionDenied("You may submit for no organization. An admin of one can make you a researcher.")
    context = {
        "teams": [team.name for team in teams],
        "tags": tags_by_team(teams),
        "defaults": json.dumps({team.name: _defaults(team) for team in teams}),
    }
    if request.GET.get("parent"):
        context |= _run_again(request, request.GET["parent"])
    return render(request, "dashboard/new_job.html", {**around, **context})


def _defaults(organization: Organization) -> dict[str, str]:
    """Return the provider and the hardware with which the form begins."""
    return {"provider": organization.default_provider or FALLBACK_PROVIDER, "hardware": organization.default_hardware}


def _run_again(request: HttpRequest, parent_id: str) -> dict[str, Any]:
    """Return what the form begins with. Raises Http404, and PermissionDenied for who may not submit there."""
    parent = job_of(request, parent_id)
    if parent.organization is None:
        raise PermissionDenied(NO_ORGANIZATION)
    if not may_run_again(parent, request.user):
        raise PermissionDenied(NOT_ALLOWED)
    begin = next_run_of(parent, request.user)
    return {
        "parent": parent,
        "teams": [parent.organization.name],
        "tags": tags_by_team([parent.organization]),
        "ticked_tags": tags_by_job([parent]).get(parent.pk, []),
        "begin": {**begin, "dataset": _dataset_of(parent)},
    }


def _dataset_of(job: Job) -> dict[str, Any] | None:
    upload = job.dataset
    if upload is None or upload.removed_at is not None:
        return None
    return {"id": upload.pk, "name": upload.name, "size": upload.size, "files": upload.files}
