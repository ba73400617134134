"""The page of one job, its live parts, and its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header

from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.throttles import LogReads
from jobs.dashboard.job_detail import dataset_of, documents_of, head_of, history_for_page, masked_json
from jobs.dashboard.navigation import page, page_context, part
from jobs.dashboard.runs import runs_of
from jobs.dashboard.tag_views import tags_of_page
from jobs.logs import pieces_of
from jobs.models import Job
from jobs.queries import find_job

Answer = TypeVar("Answer", HttpResponse, StreamingHttpResponse)

#: The parts that the page fetches again at an event of the job, with their templates.
PARTS: Mapping[str, tuple[str, Callable[[Job, HttpRequest], Mapping[str, Any]]]] = {
    "head": ("dashboard/_job_head.html", lambda job, request: head_of(job, request.user)),
    "history": ("dashboard/_job_history.html", lambda job, request: history_for_page(job)),
}


def job_of(request: HttpRequest, job_id: str) -> Job:
    """Return the job. Raises Http404 when there is none, or several begin so."""
    try:
        return find_job(request.user, job_id)
    except Conflict as error:
        raise Http404 from error


@page
def job_page(request: HttpRequest, job_id: str) -> HttpResponse:
    around = page_context(request)  # before the job is read: the stream brings every later event
    job = job_of(request, job_id)
    if job_id != job.pk:
        return redirect("job-page", job.pk)
    context = {
        **around,
        **head_of(job, request.user),
        **history_for_page(job),
        "documents": documents_of(job),
        "dataset": dataset_of(job),
        "runs": runs_of(job, request.user),
        "tags": tags_of_page(job, request.user),
    }
    return render(request, "dashboard/job.html", context)


@part
def job_part(request: HttpRequest, job_id: str, name: str) -> HttpResponse:
    """Render one part of that page."""
    if name not in PARTS:
        raise Http404
    template, context_of = PARTS[name]
    return render(request, template, dict(context_of(job_of(request, job_id), request)))


@page
def log_file(request: HttpRequest, job_id: str) -> StreamingHttpResponse:
    """Download the whole log so far."""
    job = job_of(request, job_id)
    LogReads.count(request.user)
    response = StreamingHttpResponse(_whole_log(job), content_type="text/plain; charset=utf-8")
    return _as_download(response, f"{job.config_name}-{job.pk}.log")


async def _whole_log(job: Job) -> AsyncIterator[bytes]:
    """Yield the log piece by piece, so that no size of a log fills the memory."""
    pieces = pieces_of(job)
    read_next = sync_to_async(lambda: next(pieces, None))
    while (piece := await read_next()) is not None:
        yield piece.text.encode()


@page
def config_file(request: HttpRequest, job_id: str) -> HttpResponse:
    """Download the config, secrets masked."""
    job = job_of(request, job_id)
    return _json_download(job.config, f"{job.config_name}.json")


@page
def dataloader_file(request: HttpRequest, job_id: str) -> HttpResponse:
    """Download the dataloader config, secrets masked."""
    job = job_of(request, job_id)
    return _json_download(job.dataloader_config, f"{job.config_name}-dataloader.json")


def _json_download(value: Any, name: str) -> HttpResponse:
    return _as_download(HttpResponse(masked_json(value) + "\n", content_type="application/json"), name)


def _as_download(response: Answer, name: str) -> Answer:
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return response
