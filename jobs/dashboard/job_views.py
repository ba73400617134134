"""The page of one job with its tabs, its live parts, and its files."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.middleware.gzip import re_accepts_gzip
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header

from cloudtrain_site.limits.throttles import LogReads
from jobs.dashboard.history import history_for_page
from jobs.dashboard.job_config import difference_from_earlier, documents_of, masked_json
from jobs.dashboard.job_detail import dataset_of, details_of, head_of
from jobs.dashboard.job_tabs import job_of, tab_view
from jobs.dashboard.navigation import page, part
from jobs.dashboard.runs import runs_of
from jobs.dashboard.tag_views import note_of_page, tags_of_page
from jobs.logs import pieces_of
from jobs.models import Job

Answer = TypeVar("Answer", HttpResponse, StreamingHttpResponse)
#: zlib's window bits for a gzip file.
GZIP = 31

#: The parts that the page fetches again at an event of the job, with their templates.
PARTS: Mapping[str, tuple[str, Callable[[Job, HttpRequest], Mapping[str, Any]]]] = {
    "head": ("dashboard/_job_head.html", lambda job, request: head_of(job, request.user)),
    "details": ("dashboard/_job_details.html", lambda job, request: _details(job, request)),
    "runs": ("dashboard/_job_runs.html", lambda job, request: {"runs": runs_of(job, request.user)}),
    "history": ("dashboard/_job_history.html", lambda job, request: history_for_page(job)),
}


def _details(job: Job, request: HttpRequest) -> dict[str, Any]:
    return {"job": job, **details_of(job, request.user)}


def _overview(job: Job, request: HttpRequest) -> dict[str, Any]:
    return {
        **details_of(job, request.user),
        "runs": runs_of(job, request.user),
        "tags": tags_of_page(job, request.user),
        "note": note_of_page(job, request.user),
    }


def _config(job: Job, request: HttpRequest) -> dict[str, Any]:
    return {
        "documents": documents_of(job),
        "dataset": dataset_of(job),
        "difference": difference_from_earlier(job, request.user),
    }


overview = tab_view("job-page", "dashboard/job_overview.html", _overview)
log_tab = tab_view("job-log", "dashboard/job_log.html", lambda job, request: {})
curves_tab = tab_view("job-curves", "dashboard/job_curves.html", lambda job, request: {})
config_tab = tab_view("job-config", "dashboard/job_config.html", _config)
history_tab = tab_view("job-history", "dashboard/job_history.html", lambda job, request: history_for_page(job))


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
    is_packed = re_accepts_gzip.search(request.headers.get("Accept-Encoding", ""))
    pieces = _packed(_whole_log(job)) if is_packed else _whole_log(job)
    response = StreamingHttpResponse(pieces, content_type="text/plain; charset=utf-8")
    patch_vary_headers(response, ("Accept-Encoding",))
    if is_packed:
        response["Content-Encoding"] = "gzip"
    return _as_download(response, f"{job.config_name}-{job.pk}.log")


async def _packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces as one gzip file. Django's gzip_page makes a file of each, and browsers read the first alone."""
    packer = zlib.compressobj(wbits=GZIP)
    async for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


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
