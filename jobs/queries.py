"""Look-ups of jobs for a user."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.errors import Conflict
from jobs.models import Job, JobQuerySet
from jobs.permissions import AnyUser, can_change, listed_jobs_of, visible_jobs

ID_LENGTH = 26
#: The first eight characters tell the second in which a job was made.
MIN_START = 8
MAX_NAMED = 5


def find_job(user: AnyUser, job_id: str) -> Job:
    """Return the job with that id, an id that begins so, or that id at its provider.

    Raises Http404 when `user` may see none, and Conflict when several begin so.
    """
    if "\x00" in job_id:
        raise Http404
    jobs = visible_jobs(user).select_related("organization", "submitted_by")
    job = jobs.filter(pk=job_id.lower()).first() or jobs.filter(external_id=job_id).first() or _begun(jobs, job_id)
    if job is None:
        raise Http404
    return job


def _begun(jobs: JobQuerySet, start: str) -> Job | None:
    """Return the one whose id begins with `start`. Raises Conflict for several."""
    if not (MIN_START <= len(start) < ID_LENGTH and start.isascii() and start.isalnum()):
        return None
    # Between two whole ids: a search by LIKE would read every id.
    first, last = start.lower().ljust(ID_LENGTH, "0"), start.lower().ljust(ID_LENGTH, "z")
    found = list(jobs.filter(pk__range=(first, last)).order_by("pk")[: MAX_NAMED + 1])
    if len(found) > 1:
        named = ", ".join(job.pk for job in found[:MAX_NAMED])
        more = " and more" if len(found) > MAX_NAMED else ""
        raise Conflict(
            f"Several jobs begin with {start!r}: {named}{more}. Give more of the id.", code="ambiguous_job_id"
        )
    return found[0] if found else None


def find_own_job(user: AnyUser, job_id: str) -> Job:
    """As `find_job`, for changing it. Raises PermissionDenied for a job that `user` may only view."""
    job = find_job(user, job_id)
    if not can_change(user, job):
        raise PermissionDenied("You may look at this job, but only its submitter, a lead or an admin may change it.")
    return job


def filter_jobs(user: AnyUser, query: dict[str, Any]) -> JobQuerySet:
    """Return the jobs that `user` may see and that match `query` (a checked JobListQuery), newest first."""
    return narrow(listed_jobs_of(user), query)


def narrow(jobs: JobQuerySet, query: dict[str, Any]) -> JobQuerySet:
    """Return the jobs that match `query` (a checked JobListQuery), newest first."""
    if query["status"]:
        jobs = jobs.filter(status__in=query["status"])
    if query["provider"]:
        jobs = jobs.filter(provider=query["provider"])
    if query["job_type"]:
        local = Q(provider="local")
        jobs = jobs.filter(local if query["job_type"] == "local" else ~local)
    if query["organization"]:
        jobs = jobs.filter(organization__name=query["organization"])
    if query["search"]:
        jobs = jobs.filter(_matches(query["search"]))
    return jobs.select_related("organization", "submitted_by").order_by("-id")


def _matches(text: str) -> Q:
    return (
        Q(config_name__icontains=text)
        | Q(id__startswith=text.lower())
        | Q(external_id=text)
        | Q(correlation_id=text)
        | Q(submitted_by__username__iexact=text)
    )
