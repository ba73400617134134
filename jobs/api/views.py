"""The jobs over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered, takes
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.limits.throttles import LogReads, Syncs
from cloudtrain_site.models import Scope
from cloudtrain_site.states import Actor
from cloudtrain_site.strict_views import StrictViewSet
from jobs import lifecycle
from jobs.api.errors import ProviderUnavailable, field_errors
from jobs.api.run_views import HasRuns
from jobs.api.serializers import (
    CancelBody,
    ChangedJobSerializer,
    DeletedJobSerializer,
    DiscoverySerializer,
    InlineProgressSerializer,
    JobDetailSerializer,
    JobHistorySerializer,
    JobListQuery,
    JobListSerializer,
    LogQuery,
    LogSerializer,
    SyncQuery,
    with_facets,
)
from jobs.api.submission_serializers import FuseBody, FuseSetSerializer
from jobs.finding.orders import NEWEST
from jobs.finding.pages import MOST_COUNTED, found_for, organizations_seen
from jobs.fuses.fuse import ask_for_more, set_fuse
from jobs.logs import read_end, read_log
from jobs.models import Job, JobQuerySet
from jobs.permissions import AnyUser, listed_jobs_of, organizations_of, teams_of
from jobs.providers.base import ProviderError
from jobs.queries import by_own_columns, criteria_of, find_job, find_own_job
from jobs.roles import SUBMITTERS
from jobs.sync import refresh
from jobs.sync.discovery import discover_at
from jobs.sync.refresh import refresh_shared
from jobs.tags.noting import check_may_note, set_note
from jobs.tags.serializers import NoteBody, NoteSetSerializer, TagsBody, TagsSetSerializer
from jobs.tags.tagging import set_tags, tags_by_job


class CancelsJobs(StrictViewSet):
    """The one verb that the jobs' and the queue's addresses share."""

    lookup_url_kwarg = "job_id"

    @extend_schema(request=CancelBody, responses=ChangedJobSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.SUBMIT)
    def cancel(self, request: Request, job_id: str) -> Response:
        """Cancel a job."""
        job = find_own_job(request.user, job_id)
        reason = checked(CancelBody, request.data or {})["reason"]
        if not lifecycle.request_cancel(job, actor=Actor.of(request.user), source=current_source(), reason=reason):
            job.refresh_from_db()
            raise Conflict(f"The job has already ended ({job.status}).")
        return rendered(ChangedJobSerializer, job)


class JobViewSet(HasRuns, CancelsJobs):
    """The jobs that the asker may see."""

    @extend_schema(operation_id="jobs_list", responses=JobListSerializer)
    @takes(JobListQuery)
    def list(self, request: Request) -> Response:
        """List jobs."""
        sync = {"sync": _refresh_active(request.user)} if self.query["sync_active"] else {}
        return rendered(JobListSerializer, {**_page(request.user, self.query), **sync})

    @extend_schema(responses=JobDetailSerializer)
    @raises(Conflict)
    def retrieve(self, request: Request, job_id: str) -> Response:
        """Show a job."""
        [job] = with_facets([find_job(request.user, job_id)], request.user)
        return rendered(JobDetailSerializer, {"job": job})

    @extend_schema(responses={200: DeletedJobSerializer})
    @raises(Conflict)
    @needs(Scope.SUBMIT)
    def destroy(self, request: Request, job_id: str) -> Response:
        """Delete a job.

        Only an ended job can be deleted. It leaves every list. Its log and its files on the server are removed, and its
        dataset too if its submitter uploaded it and no other job uses it. Its cost still counts. Its results stay in
        `jobs/JOB_ID/output` of the data folder, for the site's operator, as long as the site keeps results.
        """
        job = find_own_job(request.user, job_id)
        if not lifecycle.delete(job, actor=Actor.of(request.user), source=current_source()):
            raise Conflict(f"The job is {job.status}: only finished jobs can be deleted. Cancel the job first.")
        return rendered(DeletedJobSerializer, job)

    @extend_schema(request=FuseBody, responses=FuseSetSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.SUBMIT)
    def fuse(self, request: Request, job_id: str) -> Response:
        """Set a job's cost limit.

        Only a reviewer can set more than was approved. With `ask`, the reviewers are asked to.
        """
        job, body = find_own_job(request.user, job_id), checked(FuseBody, request.data)
        amount = body["max_cost_usd"]
        is_asked = body["ask"] and ask_for_more(job, amount, by=request.user, reason=body["reason"])
        if not is_asked:
            set_fuse(job, amount, by=request.user)
        return rendered(FuseSetSerializer, {"pk": job.pk, "max_cost_usd": job.max_cost_usd, "is_asked": is_asked})

    @extend_schema(request=TagsBody, responses=TagsSetSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.SUBMIT)
    def tags(self, request: Request, job_id: str) -> Response:
        """Set a job's tags, out of its organization's tags."""
        job = find_own_job(request.user, job_id)
        with field_errors():
            set_tags(job, checked(TagsBody, request.data)["tags"], by=current_user(request), source=current_source())
        return rendered(TagsSetSerializer, {"job_id": job.pk, "tags": tags_by_job([job])[job.pk]})

    @extend_schema(request=NoteBody, responses=NoteSetSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.SUBMIT)
    def note(self, request: Request, job_id: str) -> Response:
        """Set a job's note."""
        job = find_job(request.user, job_id)
        check_may_note(current_user(request), job)
        with field_errors():
            set_note(job, checked(NoteBody, request.data)["note"], by=current_user(request), source=current_source())
        return rendered(NoteSetSerializer, {"job_id": job.pk, "note": job.note or ""})

    @extend_schema(responses=InlineProgressSerializer)
    @raises(Conflict)
    @action(detail=True, url_path="inline-progress")
    def inline_progress(self, request: Request, job_id: str) -> Response:
        """Show a job's progress."""
        job = find_job(request.user, job_id)
        refresh.refresh_viewed(job, source=current_source())
        return rendered(InlineProgressSerializer, job)

    @extend_schema(responses=LogSerializer)
    @raises(Conflict, LimitReachedError)
    @action(detail=True)
    @method_decorator(gzip_page)
    @takes(LogQuery)
    def logs(self, request: Request, job_id: str) -> Response:
        """Read a job's log."""
        job = find_job(request.user, job_id)
        start, tail = self.query["since"], self.query.get("tail")
        if tail or not start:  # what follows a log costs little
            LogReads.count(request.user)
        refresh.refresh_viewed(job, source=current_source())
        piece = read_end(job, start=start, lines=tail) if tail else read_log(job, start=start)
        return rendered(LogSerializer, {"job_id": job.pk, "piece": piece})

    @extend_schema(responses=JobHistorySerializer)
    @raises(Conflict)
    @action(detail=True)
    def events(self, request: Request, job_id: str) -> Response:
        """List a job's history."""
        return rendered(JobHistorySerializer, {"events": find_job(request.user, job_id).events.all()})

    @extend_schema(request=None, responses=DiscoverySerializer)
    @raises(ProviderUnavailable)
    @action(methods=["post"], detail=False, throttle_classes=[Syncs])
    @needs(Scope.SUBMIT)
    @takes(SyncQuery)
    def sync(self, request: Request) -> Response:
        """Find jobs that were created at a provider directly."""
        # It costs requests to the provider, and its failure is shown to all organizations.
        if not organizations_of(request.user, SUBMITTERS).exists():
            raise PermissionDenied("Only users who can submit jobs can discover jobs.")
        try:
            outcome = discover_at(self.query.get("provider"), limit=self.query["limit"], source=current_source())
        except ProviderError as error:
            raise ProviderUnavailable(str(error)) from error
        return rendered(DiscoverySerializer, outcome)


def _page(user: AnyUser, query: dict[str, Any]) -> dict[str, Any]:
    """Return the page of jobs for `query`, a checked JobListQuery."""
    jobs = by_own_columns(Job.objects.kept(), query)
    is_narrowed = any(query[name] for name in ("status", "provider", "job_type"))
    reader, named = (user, teams_of(user)), query["organization"]
    found = found_for(reader, jobs, criteria_of(query, organizations_seen(reader, named)), named, is_narrowed)
    first, count = query["offset"], query["limit"]
    page = found.page(_as_listed, NEWEST, query["cursor"], count + 1, first)
    shown = page[:count]
    next_cursor = shown[-1].pk if len(page) > count else None
    is_all = not query["cursor"] and first == 0 and next_cursor is None
    total = len(shown) if is_all else found.count()
    return {
        "jobs": with_facets(shown, user),
        "total": min(total, MOST_COUNTED),
        "total_is_capped": total > MOST_COUNTED,
        "next_cursor": next_cursor,
    }


def _as_listed(jobs: JobQuerySet) -> JobQuerySet:
    # A config may have a megabyte, and is not part of the answer.
    unread = jobs.defer("config", "dataloader_config", "sealed")
    return unread.select_related("organization", "submitted_by").with_beginnings()


def _refresh_active(user: AnyUser) -> refresh.RefreshResult:
    visible = listed_jobs_of(user).active().exclude(external_id=None)
    return refresh_shared(list(visible.select_related("organization", "submitted_by")), source=current_source())
