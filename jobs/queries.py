"""Look-ups of jobs for a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import F, Q
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.database.beginnings import beginning, beginning_of
from cloudtrain_site.database.folding import folded
from cloudtrain_site.errors import Conflict
from jobs.extensions import facets_of
from jobs.finding.search import Criterion, matching, those_with
from jobs.identifiers import EVER, Span
from jobs.models import Job, JobEvent, JobQuerySet, JobTag, Tag
from jobs.permissions import AnyUser, can_change, visible_jobs
from jobs.statuses import CANCEL_REQUESTED, JobStatus

#: What of the list's address says which jobs are listed, and how; the cursor says from where on.
LIST_FILTERS = (
    *("status", "provider", "job_type", "organization", "tag", "mine", "search"),
    *("person", "hardware", "cost_from", "cost_to", "period", "created_from", "created_to"),
)
#: These filters go by columns that an index of jobs has.
BY_COLUMN = ("status", "provider", "job_type", "mine", "person", "hardware")
LIST_PARAMETERS = (*LIST_FILTERS, "zone", "columns", "sort")

#: What a job's status is called, by its kind, which the style sheet uses as well.
LABELS: Mapping[str, str] = dict(JobStatus.choices) | {"held": "Held", "cancelling": "Cancelling"}
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
            f"Several jobs begin with “{start}”: {named}{more}. Enter more of the id.", code="ambiguous_job_id"
        )
    return found[0] if found else None


def find_own_job(user: AnyUser, job_id: str) -> Job:
    """As `find_job`, for changing it. Raises PermissionDenied for a job that `user` may only view."""
    job = find_job(user, job_id)
    if not can_change(user, job):
        raise PermissionDenied("Only the submitter, a lead or an admin can change this job.")
    return job


def by_own_columns(jobs: JobQuerySet, query: dict[str, Any]) -> JobQuerySet:
    """Return the jobs whose own columns are as the query asks."""
    if query["status"]:
        jobs = jobs.filter(status__in=query["status"])
    if query["provider"]:
        jobs = jobs.filter(provider=query["provider"])
    if query["job_type"]:
        local = Q(provider="local")
        jobs = jobs.filter(local if query["job_type"] == "local" else ~local)
    return jobs


def criteria_of(query: dict[str, Any], organizations: Sequence[int | None], span: Span = EVER) -> list[Criterion]:
    """Return what else the query asks of the jobs of these organizations that were made within `span`."""
    tag, text = query["tag"], query["search"]
    is_alone = not any(query.get(name) for name in BY_COLUMN)
    carriers = [carriers_of(tag, organizations, span, is_alone=is_alone)] if tag else []
    return [*carriers, *([matching(text)] if text else [])]


def carriers_of(
    name: str, organizations: Sequence[int | None], span: Span = EVER, *, is_alone: bool = False
) -> Criterion:
    """Return the criterion that a job carries a tag of that name. `is_alone`: beside no filter by an index."""
    if "\x00" in name:
        return those_with(JobTag.objects.none())
    key, seen = folded(name), [pk for pk in organizations if pk is not None]
    counted = None
    if connection.vendor == "sqlite":
        rows = JobTag.objects.filter(tag__name_key=key)
        own = rows.filter(tag__organization__in=seen)
        if is_alone:
            # A job carries tags of its own organization alone: with that, an index has what is counted, and no job is
            # read. Beside another filter SQLite would begin with all jobs that this one has.
            counted = Q(
                span.of("job_tags__job"),
                job_tags__tag__name_key=key,
                job_tags__tag__organization__in=seen,
                job_tags__tag__organization=F("organization"),
            )
    else:
        # The few tags first: it then reads the rows of their jobs alone.
        tags = Tag.objects.filter(name_key=key, organization__in=seen).values_list("pk", flat=True)
        rows = own = JobTag.objects.filter(tag__in=list(tags))
    return those_with(own.filter(span.of("job")), walked=rows, counted=counted)


def reasons_to_stop(job_ids: Iterable[str]) -> dict[str, str]:
    """Return by job id why it was asked to stop, its beginning if that is long; without those that have no reason."""
    notes = JobEvent.objects.filter(job__in=job_ids, subject=Job.SUBJECT, reason__startswith=f"{CANCEL_REQUESTED}: ")
    texts = notes.order_by("id").values_list("job_id", beginning_of("reason"))
    return {job_id: beginning(text.removeprefix(f"{CANCEL_REQUESTED}: ")) for job_id, text in texts}


def kind_of(job: Job, facts: Mapping[str, Any]) -> str:
    """Return its status, or "held" or "cancelling"; `facts` are its facets, with `approval_status` if it waits."""
    if job.is_terminal:
        return job.status
    if job.cancel_requested_at is not None:
        return "cancelling"
    return "held" if facts.get("approval_status") == "pending" else job.status


def status_labels(jobs: Sequence[Job], reader: AnyUser) -> dict[str, str]:
    """Return by job id what its status is called. Asks only for jobs that wait: they may be held."""
    waiting = [job for job in jobs if job.status == JobStatus.PENDING]
    facets = facets_of(waiting, reader, ("approval_status",)) if waiting else {}
    return {job.pk: LABELS[kind_of(job, facets.get(job.pk, {}))] for job in jobs}
