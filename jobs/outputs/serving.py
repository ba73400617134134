"""Responses with the files of a training. A trainer wrote them, so that no browser may run what is in them."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header, http_date

from jobs.outputs.folder import OpenFile, OutputFolder
from jobs.outputs.kinds import IMAGE_TYPES, VIDEO_TYPES, ending_of
from jobs.outputs.ranges import range_of
from jobs.outputs.streams import streamed

#: Read at a time. A larger piece costs memory for each download, a smaller one a change of threads more often.
PIECE_BYTES = 1_000_000
ACCELERATED = "X-Accel-Redirect"
#: nginx answers 502 when all headers of a response together take more than 4 kB, and a name alone may take 800 bytes.
MAX_LOCATION = 2000
SHOWN_TYPES: Mapping[str, str] = IMAGE_TYPES | VIDEO_TYPES
DOWNLOAD_TYPE = "application/octet-stream"
#: What is an image or a video shows; nothing in it runs, whatever a browser takes it for.
POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def file_response(request: HttpRequest, folder: OutputFolder, path: str) -> HttpResponseBase:
    """Return the file at `path`, or the part of it that the request asks for.

    Raises NotFoundError and UnsatisfiableError.
    """
    file = folder.open(path)
    try:
        response = _response(request, folder, path, file)
    except BaseException:
        file.close()
        raise
    if not response.streaming:
        file.close()
    if not response.has_header(ACCELERATED):  # nginx says these of the file itself
        response["Accept-Ranges"] = "bytes"
        response["ETag"] = etag_of(file)
        response["Last-Modified"] = http_date(file.modified)
    return protected(response, path)


def protected(response: HttpResponseBase, path: str) -> HttpResponseBase:
    """Set the headers that keep the file from being run, and its name."""
    media_type = SHOWN_TYPES.get(ending_of(path))
    response["Content-Type"] = media_type or DOWNLOAD_TYPE
    response["Content-Disposition"] = disposition(path, as_attachment=media_type is None)
    response["Content-Security-Policy"] = POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-cache"
    return response


def disposition(path: str, *, as_attachment: bool) -> str:
    name = printable(path.rstrip("/").rpartition("/")[2])
    return content_disposition_header(as_attachment=as_attachment, filename=name) or "attachment"


def printable(name: str) -> str:
    """Return a name to show: without line breaks, and without marks that turn its ending round."""
    return "".join(character if character.isprintable() else "_" for character in name)


def etag_of(file: OpenFile) -> str:
    return f'"{file.modified:.6f}-{file.size}"'


def _response(request: HttpRequest, folder: OutputFolder, path: str, file: OpenFile) -> HttpResponseBase:
    if request.headers.get("If-None-Match", "") == etag_of(file):
        return HttpResponseNotModified()
    if location := _accelerated_location(folder.root / path):
        return HttpResponse(headers={ACCELERATED: location})
    part = range_of(request.headers.get("Range", ""), file.size) if _may_be_partial(request, file) else None
    start, end = part or (0, file.size)
    headers = {"Content-Length": str(end - start)}
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    if request.method == "HEAD":
        return HttpResponse(status=206 if part else 200, headers=headers)
    return StreamingHttpResponse(streamed(_pieces(file, start, end)), status=206 if part else 200, headers=headers)


def _may_be_partial(request: HttpRequest, file: OpenFile) -> bool:
    """Whether the part that the client has, if it says so, is of the file as it is now."""
    condition = request.headers.get("If-Range")
    return condition is None or condition in (etag_of(file), http_date(file.modified))


def _accelerated_location(path: Path) -> str:
    """Return where nginx finds the file, to send it and heed the range; "": it can't, or need not."""
    if not settings.ACCELERATED_LOCATION:
        return ""
    location = str(settings.ACCELERATED_LOCATION).rstrip("/") + quote(str(path))
    return location if len(location) <= MAX_LOCATION else ""


def _pieces(file: OpenFile, start: int, end: int) -> Generator[bytes]:
    """Yield the bytes from `start` to `end`. A file that becomes shorter meanwhile ends the response early."""
    with closing(file):
        while start < end and (piece := os.pread(file.descriptor, min(PIECE_BYTES, end - start), start)):
            start += len(piece)
            yield piece


def modified_at(modified: float) -> datetime:
    """Return the time of a file's last change; a trainer may have set one that no calendar has."""
    try:
        return datetime.fromtimestamp(modified, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)
