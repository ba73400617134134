"""The jobs over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.api.errors import ProviderUnavailable
from jobs.api.serializers import (
    CancelBody,
    DoneShape,
    InlineProgressShape,
    JobDetailShape,
    JobEventsShape,
    JobListQuery,
    JobListShape,
    LogQuery,
    LogShape,
    SeriesShape,
    SyncQuery,
    SyncShape,
    represent,
    represent_event,
)
from jobs.curves import curves_of
from jobs.logs import read_end, read_log
from jobs.permissions import organizations_of
from jobs.providers.base import ProviderError
from jobs.queries import filter_jobs, find_job, find_own_job
from jobs.roles import SUBMITTERS
from jobs.sync import refresh
from jobs.sync.discovery import discover
from jobs.sync.refresh import refresh_shared

DELETION = (
    "Takes an ended job out of every list, and removes its log, its files on the server, and its dataset when its "
    "submitter uploaded it and no other job has it. What it cost stays counted. What the training made stays: "
    "`jobs/JOB_ID/output` in the data folder of the machine that trained, for whoever runs the server."
)


class JobList(APIView):
    """The jobs that the asker may see."""

    @extend_schema(operation_id="jobs_list", parameters=[JobListQuery], responses=JobListShape)
    def get(self, request: Request) -> Response:
        query = JobListQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        told = sync_active(request) if wanted["sync_active"] else {}
        jobs = filter_jobs(request.user, wanted)
        total = jobs.count()
        if wanted["cursor"]:
            jobs = jobs.filter(pk__lt=wanted["cursor"])
        first, count = wanted["offset"], wanted["limit"]
        page = list(jobs[first : first + count + 1])
        shown = page[:count]
        more = shown[-1].pk if len(page) > count else None
        return Response({"jobs": represent(shown, request.user), "total": total, "next_cursor": more, **told})


def sync_active(request: Request) -> dict[str, Any]:
    """Refresh the active jobs that the asker may see."""
    visible = filter_jobs(request.user, JobListQuery().to_internal_value({})).active().exclude(external_id=None)
    outcome = refresh_shared(list(visible), source=Source.API)
    return {"sync": {"refreshed": outcome.refreshed, "failed": outcome.failed}}


class JobDetail(APIView):
    """One job."""

    @extend_schema(responses=JobDetailShape)
    def get(self, request: Request, job_id: str) -> Response:
        job = find_job(request.user, job_id)
        return Response({"job": represent([job], request.user)[0]})

    @extend_schema(responses=DoneShape, description=DELETION)
    def delete(self, request: Request, job_id: str) -> Response:
        job = find_own_job(request.user, job_id)
        if not lifecycle.delete(job, actor=Actor.of(request.user), source=Source.API):
            raise Conflict(f"The job is {job.status}: only a finished one can be deleted. Cancel it first.")
        return Response({"success": True, "job_id": job.pk})


class InlineProgress(APIView):
    """How far a job is, in four fields."""

    @extend_schema(responses=InlineProgressShape)
    def get(self, request: Request, job_id: str) -> Response:
        job = find_job(request.user, job_id)
        refresh.refresh_viewed(job, source=Source.API)
        return Response({"job_id": job.pk, "stage": job.stage, "last_log": job.last_log, "progress": job.progress})


class JobLogs(APIView):
    """A job's log."""

    @extend_schema(parameters=[LogQuery], responses=LogShape)
    def get(self, request: Request, job_id: str) -> Response:
        query = LogQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        job = find_job(request.user, job_id)
        refresh.refresh_viewed(job, source=Source.API)
        start, tail = query.validated_data["since"], query.validated_data.get("tail")
        piece = read_end(job, start=start, lines=tail) if tail else read_log(job, start=start)
        return Response({"job_id": job.pk, "logs": piece.text, "offset": piece.end, "complete": piece.complete})


class JobEvents(APIView):
    """A job's whole history."""

    @extend_schema(responses=JobEventsShape)
    def get(self, request: Request, job_id: str) -> Response:
        job = find_job(request.user, job_id)
        return Response({"events": [represent_event(event) for event in job.events.all()]})


class JobMetrics(APIView):
    """Loss and learning rate by step, read from the log."""

    @extend_schema(responses=SeriesShape)
    def get(self, request: Request, job_id: str) -> Response:
        return Response({"series": curves_of(find_job(request.user, job_id))})


class JobSync(APIView):
    """Discovery: the provider's newest trainings, those that were made elsewhere too."""

    @extend_schema(request=None, parameters=[SyncQuery], responses=SyncShape)
    def post(self, request: Request) -> Response:
        # It costs the provider's requests, and its failure is told to everybody: nobody's business from outside.
        if not organizations_of(request.user, SUBMITTERS).exists():
            raise PermissionDenied("Only who may submit jobs looks for those that were made elsewhere.")
        query = SyncQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        try:
            outcome = discover(wanted["provider"], limit=wanted["limit"], source=Source.API)
        except ProviderError as error:
            raise ProviderUnavailable(str(error)) from error
        return Response({"synced": outcome.new, "updated": outcome.updated, "message": outcome.message})


class CancelJob(APIView):
    """Stop a job."""

    @extend_schema(request=CancelBody, responses=DoneShape)
    def post(self, request: Request, job_id: str) -> Response:
        job = find_own_job(request.user, job_id)
        body = CancelBody(data=request.data or {})
        body.is_valid(raise_exception=True)
        reason = body.validated_data["reason"]
        if not lifecycle.request_cancel(job, actor=Actor.of(request.user), source=Source.API, reason=reason):
            job.refresh_from_db()
            raise Conflict(f"The job has already ended: it is {job.status}.")
        return Response({"success": True, "job_id": job.pk, "status": job.status})
