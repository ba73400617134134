"""The tags and the note on the page of a job, and the tags in the list of jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from rest_framework import exceptions

from cloudtrain_site.api import current_user
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.pages import within_limits
from jobs.models import Job, Organization, Tag
from jobs.models.job import MAX_NOTE_CHARACTERS
from jobs.permissions import AnyUser, Team, can_change
from jobs.queries import find_job
from jobs.tags.noting import can_note, set_note
from jobs.tags.tagging import MAX_TAGS_OF_JOB, set_tags, tags_by_job

#: A list offers no more to choose from: those of one organization fit.
MAX_OFFERED = 200


def tags_of_page(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the tags of the job, and those that the reader may put on it; None: there is nothing to show."""
    carried = tags_by_job([job]).get(job.pk, [])
    may_change = job.organization is not None and can_change(reader, job)
    offered = list(job.organization.tags.values_list("name", flat=True)) if may_change and job.organization else []
    if not carried and not offered:
        return None
    return {"carried": carried, "offered": offered, "most": MAX_TAGS_OF_JOB}


def note_of_page(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the job's note, and whether the reader may write it; None: there is nothing to show."""
    may_change = job.organization_id is not None and can_note(reader, job)
    if not may_change and not job.note:
        return None
    return {"text": job.note or "", "may_change": may_change, "most": MAX_NOTE_CHARACTERS}


def tags_by_team(teams: Sequence[Organization]) -> dict[str, list[str]]:
    """Return the tags of each organization that has some, in the order of `teams`, for the page of a new job."""
    found: dict[str, list[str]] = {team.name: [] for team in teams}
    tags = Tag.objects.filter(organization__in=teams).order_by("name_key")
    for organization, name in tags.values_list("organization__name", "name"):
        found[organization].append(name)
    return {organization: names for organization, names in found.items() if names}


def offered_tags(teams: Sequence[Team], organization: str) -> list[str]:
    """Return the tags by which the jobs of these teams can be listed; of one alone, if `organization` names it."""
    ids = [team.id for team in teams if organization in ("", team.name)]
    names = Tag.objects.filter(organization__in=ids).order_by("name_key").values_list("name", flat=True).distinct()
    return list(names[:MAX_OFFERED])


def _stored(request: HttpRequest, job_id: str, store: Callable[[Job, User], object]) -> HttpResponse:
    """Store what a form of the job's page sent, and lead back to the page, which says what was wrong."""
    user = current_user(request)
    try:
        job = find_job(user, job_id)
    except Conflict as error:
        raise Http404 from error
    try:
        store(job, user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    except exceptions.PermissionDenied as error:
        raise PermissionDenied(str(error.detail)) from error
    return redirect("job-page", job.pk)


@never_cache
@login_required
@require_POST
@within_limits
def job_tags(request: HttpRequest, job_id: str) -> HttpResponse:
    """Store which tags the job carries, and lead back to its page."""

    def store(job: Job, user: User) -> None:
        if not can_change(user, job):
            raise PermissionDenied("Only the submitter, a lead or an admin can change the tags.")
        set_tags(job, request.POST.getlist("tag"), by=user, source=current_source())

    return _stored(request, job_id, store)


@never_cache
@login_required
@require_POST
@within_limits
def job_note(request: HttpRequest, job_id: str) -> HttpResponse:
    """Store the job's note, and lead back to its page."""

    def store(job: Job, user: User) -> None:
        set_note(job, request.POST.get("note", ""), by=user, source=current_source())

    return _stored(request, job_id, store)
