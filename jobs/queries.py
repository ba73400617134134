"""Look-ups of jobs for a user."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from jobs.models import Job, JobQuerySet
from jobs.permissions import AnyUser, can_change, listed_jobs_of, visible_jobs


def find_job(user: AnyUser, job_id: str) -> Job:
    """Return the job with that id, or that id at its provider. Raises Http404 when `user` may see none."""
    if "\x00" in job_id:
        raise Http404
    jobs = visible_jobs(user).select_related("organization", "submitted_by")
    job = jobs.filter(pk=job_id.lower()).first() or jobs.filter(external_id=job_id).first()
    if job is None:
        raise Http404
    return job


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
