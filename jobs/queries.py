"""Look-ups of jobs for a user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.database.beginnings import beginning, beginning_of
from cloudtrain_site.database.folding import folded
from cloudtrain_site.errors import Conflict
from jobs.models import Job, JobEvent, JobQuerySet, JobTag, Tag
from jobs.permissions import AnyUser, can_change, listed_jobs_of, visible_jobs
from jobs.statuses import CANCEL_REQUESTED

#: What of the list's address says which jobs are listed, and how; the cursor says from where on.
LIST_FILTERS = (
    *("status", "provider", "job_type", "organization", "tag", "mine", "search"),
    *("person", "hardware", "cost_from", "cost_to", "period", "created_from", "created_to"),
)
LIST_PARAMETERS = (*LIST_FILTERS, "zone", "columns", "sort")

ID_LENGTH = 26
#: The first eight characters tell the second in which a job was made.
MIN_START = 8
MAX_NAMED = 5
#: As a time in the alphabet of ULIDs; anything else is no beginning of an id.
ID_BEGINS = re.compile("[0-7][0-9a-hjkmnp-tv-z]{0,25}")

#: "#12": a job's number in its organization.
RUN_NUMBER = re.compile("#([0-9]{1,18})", re.ASCII)


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
            f"Several jobs begin with {start!r}: {named}{more}. Enter more of the id.", code="ambiguous_job_id"
        )
    return found[0] if found else None


def find_own_job(user: AnyUser, job_id: str) -> Job:
    """As `find_job`, for changing it. Raises PermissionDenied for a job that `user` may only view."""
    job = find_job(user, job_id)
    if not can_change(user, job):
        raise PermissionDenied("Only the submitter, a lead or an admin can change this job.")
    return job


def filter_jobs(user: AnyUser, query: dict[str, Any]) -> JobQuerySet:
    """Return the jobs that `user` may see and that match `query` (a checked JobListQuery), newest first."""
    return narrow(listed_jobs_of(user), query)


def narrow(jobs: JobQuerySet, query: dict[str, Any], *, counts: bool = False) -> JobQuerySet:
    """Return the jobs that match `query` (a checked JobListQuery), newest first. `counts`: only to be counted."""
    if query["status"]:
        jobs = jobs.filter(status__in=query["status"])
    if query["provider"]:
        jobs = jobs.filter(provider=query["provider"])
    if query["job_type"]:
        local = Q(provider="local")
        jobs = jobs.filter(local if query["job_type"] == "local" else ~local)
    if query["organization"]:
        jobs = jobs.filter(organization__name=query["organization"])
    if query["tag"]:
        jobs = jobs.filter(pk__in=carriers_of(query["tag"]))
    if query["search"]:
        jobs = jobs.filter(_matches(query["search"], counts))
    return jobs.select_related("organization", "submitted_by").order_by("-id")


def count_jobs(user: AnyUser, query: dict[str, Any]) -> int:
    """Return how many jobs `filter_jobs` would."""
    return narrow(listed_jobs_of(user), query, counts=True).count()


def carriers_of(name: str) -> QuerySet[JobTag, Any]:
    """Return the ids of the jobs that carry a tag of that name, in whatever organization."""
    # The few tags first: the database then reads the rows of their jobs alone.
    tags = [] if "\x00" in name else list(Tag.objects.filter(name_key=folded(name)).values_list("pk", flat=True))
    return JobTag.objects.filter(tag__in=tags).order_by().values("job")


def _matches(text: str, counts: bool) -> Q:
    """Return the condition that a job's name contains `text`, or that it belongs to it in another way.

    The names are read in an index of theirs, which takes 10 to 25 ms for 100,000 jobs: a condition on each job that is
    listed would read the jobs, in 90 to 150 ms.
    """
    ids = Job.objects.order_by().values("pk")
    named = Q(name_key__contains=folded(text))
    others = [way for way in _other_ways(ids, text) if way.exists()]
    if others:
        return Q(pk__in=ids.filter(named).union(*others, all=True))
    # PostgreSQL counts in the index, which has the columns that say who may see a job.
    return named if counts and connection.vendor == "postgresql" else Q(pk__in=ids.filter(named))


def _other_ways(ids: QuerySet[Job, Any], text: str) -> Iterator[QuerySet[Job, Any]]:
    if ID_BEGINS.fullmatch(text.lower()):
        yield ids.filter(pk__startswith=text.lower())
    if number := RUN_NUMBER.fullmatch(text):
        yield ids.filter(number=int(number[1]))
    yield ids.filter(external_id=text)
    yield ids.filter(correlation_id=text)
    submitters = list(User.objects.filter(username__folded=folded(text)).values_list("pk", flat=True))
    if submitters:
        yield ids.filter(submitted_by__in=submitters)


def reasons_to_stop(job_ids: Iterable[str]) -> dict[str, str]:
    """Return by job id why it was asked to stop, its beginning if that is long; without those that have no reason."""
    notes = JobEvent.objects.filter(job__in=job_ids, subject=Job.SUBJECT, reason__startswith=f"{CANCEL_REQUESTED}: ")
    texts = notes.order_by("id").values_list("job_id", beginning_of("reason"))
    return {job_id: beginning(text.removeprefix(f"{CANCEL_REQUESTED}: ")) for job_id, text in texts}
