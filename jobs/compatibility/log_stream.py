"""A job's log as it is written, for `simpletuner jobs logs --follow`: a line an event, and the status at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus

from django.contrib.auth.models import User
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.request import Request

from cloudtrain_site.accounts.key_authentication import KeyAuthentication
from cloudtrain_site.api import StrictSerializer, checked
from cloudtrain_site.correlation_ids import get_correlation_id, set_correlation_id
from cloudtrain_site.events.stream import LIFETIME_SECONDS, NotServedHere, refusal
from cloudtrain_site.limits import streams
from cloudtrain_site.limits.throttles import LogReads
from cloudtrain_site.models import ApiKey
from cloudtrain_site.serving.asgi_types import Receive, Send
from cloudtrain_site.serving.deferred_responses import send_later
from cloudtrain_site.states import Source
from jobs.logs import read_log
from jobs.models import Job
from jobs.permissions import visible_jobs
from jobs.queries import find_job
from jobs.sync import refresh

#: The pause between two looks at a log that has nothing new.
PAUSE_SECONDS = 2.0
#: A stream by a key ends after this long, and its client asks again. One by a session lasts as long as that of events.
LONGEST_SECONDS = 86_400.0
#: A stream waits this long for the rest of the log after the job has ended.
REST_OF_LOG = timedelta(minutes=2)
#: The status of a stream that ends before its job does.
STREAM_END = "stream_end"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Follower:
    """Somebody who follows a log: from which byte on, and the beginning of a line that is not complete yet."""

    user: User
    key: ApiKey | None
    job_id: str
    user_id: int
    start: int = 0
    rest: str = ""

    def seconds(self) -> float:
        """Return how long the stream lasts at most."""
        if self.key is None:
            return LIFETIME_SECONDS[0]
        left = (self.key.expiry - timezone.now()).total_seconds() if self.key.expiry else LONGEST_SECONDS
        return min(left, LONGEST_SECONDS)

    def read(self) -> tuple[list[str], str]:
        """Return the next lines, and the status when these are the last ones; else "". Called in another thread."""
        try:
            return self._read()
        finally:
            connection.close()

    def _read(self) -> tuple[list[str], str]:
        may = User.objects.filter(pk=self.user_id, is_active=True).exists()
        if not may or (self.key is not None and not ApiKey.objects.filter(pk=self.key.pk).exists()):
            return [], STREAM_END
        job = visible_jobs(self.user).filter(pk=self.job_id).first()
        if job is None:
            return [], STREAM_END
        refresh.refresh_viewed(job, source=Source.API)
        piece = read_log(job, start=self.start)
        self.start = max(piece.end, self.start)
        *lines, self.rest = (self.rest + piece.text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if piece.text or not _is_over(job, piece.complete):
            return lines, ""
        return [*lines, *filter(None, [self.rest])], job.status


def _is_over(job: Job, complete: bool) -> bool:
    if job.completed_at is None:
        return False
    return complete or job.completed_at < timezone.now() - REST_OF_LOG


@csrf_exempt
def log_stream(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """The stream; or 401, 404, 405, 409 for several jobs that begin so, 429 for one stream too many."""
    if request.method != "GET":
        return refusal(exceptions.MethodNotAllowed(str(request.method)), Allow="GET")
    try:
        follower, elsewhere = _admit(request, job_id)
        streams.hold_place(follower, elsewhere)
    except exceptions.APIException as error:
        is_unknown = error.status_code == HTTPStatus.UNAUTHORIZED
        return refusal(error, **({"WWW-Authenticate": "Bearer"} if is_unknown else {}))
    if not send_later(request, partial(_send, follower, get_correlation_id())):
        return refusal(NotServedHere())
    return HttpResponse(
        content_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    )


def _admit(request: HttpRequest, job_id: str) -> tuple[Follower, int]:
    keyed = KeyAuthentication().authenticate(Request(request))
    user = keyed[0] if keyed else request.user
    if not isinstance(user, User):
        raise exceptions.NotAuthenticated
    try:
        job = find_job(user, job_id)
    except Http404:
        raise exceptions.NotFound from None
    checked(StrictSerializer, request.GET)
    LogReads.count(user)
    return Follower(user, keyed[1] if keyed else None, job.pk, user.pk), streams.open_elsewhere()[user.pk]


async def _send(follower: Follower, correlation_id: str, receive: Receive, send: Send) -> None:
    set_correlation_id(correlation_id)
    gone = asyncio.create_task(_client_is_gone(receive))
    ends_at = asyncio.get_running_loop().time() + follower.seconds()
    try:
        status = ""
        while not status and not gone.done():
            lines, status = await asyncio.to_thread(follower.read)
            if asyncio.get_running_loop().time() > ends_at:
                status = status or STREAM_END
            # A comment shows a proxy, and us, whether anybody is still there.
            text = "".join(_events(lines, status)) or ": no news\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            if not lines and not status:
                await asyncio.wait([gone], timeout=PAUSE_SECONDS)
    finally:
        gone.cancel()
        streams.give_up_place(follower)
    await send({"type": "http.response.body"})


def _events(lines: list[str], status: str) -> Iterator[str]:
    yield from (f"data: {line}\n\n" for line in lines)
    if status:
        yield f"event: done\ndata: {status}\n\n"


async def _client_is_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
