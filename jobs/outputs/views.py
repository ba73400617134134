"""What a training wrote, over HTTP: parse, authorise, read, render."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.api import raises, takes
from cloudtrain_site.errors import Conflict, error_body, retry_header
from cloudtrain_site.strict_views import StrictView
from jobs.models import Job
from jobs.outputs import serving, thumbnails
from jobs.outputs.archive import zip_of
from jobs.outputs.folder import NotFoundError, OutputFile, OutputFolder
from jobs.outputs.kinds import describe
from jobs.outputs.ranges import UnsatisfiableError
from jobs.outputs.serializers import FileQuery, FolderQuery, OutputListSerializer
from jobs.outputs.store import folder_of, listing_of
from jobs.outputs.streams import streamed
from jobs.queries import find_job


class RangeNotSatisfiable(exceptions.APIException):
    """The range is outside of the file. `Content-Range` has the file's size."""

    status_code = status.HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE
    default_detail = "The range begins after the end of the file."
    default_code = "range_not_satisfiable"


class OutputList(StrictView):
    """The files that a training wrote."""

    @extend_schema(operation_id="outputs_list", responses=OutputListSerializer)
    @raises(Conflict)
    @takes(FolderQuery)
    def get(self, request: Request, job_id: str) -> Response:
        """List a job's output files.

        Every file below `path`, at most 100,000. Links and devices are left out.
        """
        job = find_job(request.user, job_id)
        try:
            listing = listing_of(job, self.query["path"])
        except NotFoundError as error:
            raise Http404 from error
        # Plain: a serializer takes a second for 20,000 files.
        return Response({"outputs": [_described(file) for file in listing.files], "complete": listing.complete})


class OutputContent(StrictView):
    """One of those files."""

    @extend_schema(
        operation_id="outputs_retrieve",
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            202: OpenApiResponse(description="The thumbnail is being created: ask again after `Retry-After` seconds."),
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
            304: OpenApiResponse(description="The file has not changed since the client fetched it."),
        },
    )
    @raises(Conflict, RangeNotSatisfiable)
    @takes(FileQuery)
    def get(self, request: Request, job_id: str, path: str) -> HttpResponseBase:
        """Download an output file, or a part of it.

        Pictures and videos of the usual kinds show in a browser; everything else is a download.
        """
        job = find_job(request.user, job_id)
        width = self.query.get("thumbnail")
        folder = _folder(job)
        try:
            if width:
                return _thumbnail(request, job, folder, path, width)
            return serving.file_response(_plain(request), folder, path)
        except NotFoundError as error:
            raise Http404 from error
        except UnsatisfiableError as error:
            body = error_body(RangeNotSatisfiable.default_detail, RangeNotSatisfiable.default_code)
            headers = {"Content-Range": f"bytes */{error.size}"}
            return Response(body, status=RangeNotSatisfiable.status_code, headers=headers)


class OutputArchive(StrictView):
    """A folder of them."""

    @extend_schema(
        operation_id="outputs_archive",
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
    )
    @raises(Conflict)
    @takes(FolderQuery)
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """Download a folder of a job's output as a zip file."""
        job = find_job(request.user, job_id)
        below = self.query["path"].strip("/")
        folder = _folder(job)
        try:
            files = list(folder.files(below))
        except NotFoundError as error:
            raise Http404 from error
        pieces = streamed(zip_of(folder, below, files))
        response = StreamingHttpResponse(pieces, content_type="application/zip")
        name = f"{job.config_name}-{job.pk}{'-' + below.rpartition('/')[2] if below else ''}.zip"
        response["Content-Disposition"] = serving.disposition(name, as_attachment=True)
        return response


def _folder(job: Job) -> OutputFolder:
    folder = folder_of(job)
    if folder is None:
        raise Http404
    return folder


def _thumbnail(request: Request, job: Job, folder: OutputFolder, path: str, width: int) -> HttpResponseBase:
    """Return the small copy, or 202: the background is now asked for it. Raises NotFoundError."""
    try:
        name = thumbnails.thumbnail_of(job, folder, path, width)
    except thumbnails.NoThumbnailError as error:
        if not error.later:
            raise NotFoundError from error
        thumbnails.request_thumbnails(job, [path], width)
        # 2xx: while pictures of a page are made, neither browsers nor alerts on 5xx report a failure.
        body = error_body("The thumbnail is being created. Ask again in a second.", "thumbnail_not_made")
        return Response(body, status=status.HTTP_202_ACCEPTED, headers=retry_header(1))
    return serving.file_response(_plain(request), OutputFolder(thumbnails.root_of(job)), name)


def _plain(request: Request) -> HttpRequest:
    return request._request


def _described(file: OutputFile) -> dict[str, Any]:
    kind, step = describe(file.path)
    second = math.floor(file.modified)
    modified_at = f"{_second_as_text(second)}.{int((file.modified - second) * 1000):03d}Z"
    return {"path": file.path, "kind": kind, "size": file.size, "step": step, "modified_at": modified_at}


@lru_cache(maxsize=4096)
def _second_as_text(second: int) -> str:
    """Return the second in UTC. Of 20,000 files most were written in the same ones, and each would take 3 us."""
    return serving.modified_at(second).isoformat()[: len("2026-01-02T03:04:05")]
