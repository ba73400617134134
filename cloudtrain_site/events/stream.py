"""`GET /api/events`: what a user may know, as it happens, over one long response."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django_eventstream.views import stream
from rest_framework import exceptions, serializers
from rest_framework.request import Request

from cloudtrain_site.accounts.key_authentication import KeyAuthentication
from cloudtrain_site.api import StrictSerializer, checked
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.correlation_ids import get_correlation_id, set_correlation_id
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import body_of
from cloudtrain_site.events.publish import DOCTORS_CHANNEL
from cloudtrain_site.events.readers import StreamReader, last_seen
from cloudtrain_site.events.relay import EventRelay, current_relay
from cloudtrain_site.events.store import current_number
from cloudtrain_site.limits import streams
from cloudtrain_site.limits.brakes import PausedError
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.serving import echo
from cloudtrain_site.serving.asgi_types import Receive, Send
from cloudtrain_site.serving.deferred_responses import send_later

#: The user of the doctor's stream.
NOBODY = 0
#: A stream ends after a time between these two, so that rights are checked again, and not everybody's at once.
LIFETIME_SECONDS = (600.0, 900.0)


class StreamQuery(StrictSerializer):
    """What browsers' own and other clients' `EventSource` send in the address, and our pages."""

    last_event_id = serializers.CharField(required=False, allow_blank=True)
    lastEventId = serializers.CharField(required=False, allow_blank=True)  # noqa: N815
    reader = serializers.CharField(
        required=False, help_text="The id of the page's user. 401 if somebody else is signed in by now."
    )


@csrf_exempt
def event_stream(request: HttpRequest) -> HttpResponseBase:
    """The stream; or 401 for nobody, 403 for no channel, 405 for anything but GET, 429 for one too many."""
    if request.method != "GET":
        return refusal(exceptions.MethodNotAllowed(str(request.method)), Allow="GET")
    try:
        reader, elsewhere = _admit(request)
    except (exceptions.NotAuthenticated, exceptions.AuthenticationFailed) as error:
        return refusal(error, **{"WWW-Authenticate": "Bearer"})
    except (exceptions.PermissionDenied, exceptions.ValidationError) as error:
        return refusal(error)
    except PausedError as error:
        return refusal(error, **{"Retry-After": str(error.wait)})
    try:
        streams.hold_place(reader, elsewhere)
    except LimitReachedError as error:
        error.record()
        return refusal(error, **{"Retry-After": str(error.wait)})
    return begin_stream(request, reader)


def begin_stream(request: HttpRequest, reader: StreamReader) -> HttpResponse:
    """The response that streams to this reader, whose place is held; or 501."""
    if not send_later(request, partial(send_stream, reader, get_correlation_id())):
        return refusal(NotServedHere())
    response = HttpResponse(content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


class NotServedHere(exceptions.APIException):
    """For a server that keeps Django's thread for as long as a response lasts, like `runserver`."""

    status_code = 501
    default_detail = f"Only `{COMMAND} up` and `python -m cloudtrain_site.web` stream events."
    default_code = "not_implemented"


def _admit(request: HttpRequest) -> tuple[StreamReader, int]:
    """Return the reader, and how many streams their user has in other processes. The doctor is no user."""
    newest, sign_in = current_number(), config_in_force().sign_in
    if echo.token_of(request):
        over_at = timezone.now() + timedelta(seconds=echo.MAX_AGE_SECONDS)
        own = frozenset((DOCTORS_CHANNEL,))
        return StreamReader(NOBODY, own, joined_at=newest, read_to=newest, ends_at=over_at), 0
    keyed = KeyAuthentication().authenticate(Request(request))
    if keyed is not None:
        request.user = keyed[0]
    if not request.user.is_authenticated:
        raise exceptions.NotAuthenticated
    channels = import_string(settings.EVENTSTREAM_CHANNELMANAGER_CLASS)().get_channels_for_request(request, {})
    if not channels:
        raise exceptions.PermissionDenied("There are no events that you may see.")
    checked(StreamQuery, request.GET)
    read_to = last_seen(last_id_of(request), newest)
    expires_at = keyed[1].expiry if keyed else None
    reader = StreamReader(
        request.user.pk, frozenset(channels), joined_at=newest, read_to=read_to, ends_at=expires_at, sign_in=sign_in
    )
    return reader, streams.open_elsewhere()[reader.user_id]


def last_id_of(request: HttpRequest) -> str:
    """The number that the client has already, as it says; "": it says none."""
    last_ids = [request.headers.get("Last-Event-ID"), request.GET.get("last_event_id"), request.GET.get("lastEventId")]
    return next(filter(None, last_ids), "")


def refusal(error: exceptions.APIException, **headers: str) -> JsonResponse:
    return JsonResponse(body_of(error), status=error.status_code, headers=headers)


async def send_stream(reader: StreamReader, correlation_id: str, receive: Receive, send: Send) -> None:
    """The body of the response, to its end: when its time is over, the client is gone or has to come back.

    Django has let go of the request by then: so the library's reads all take asgiref's one shared thread, not a thread
    for each stream.
    """
    set_correlation_id(correlation_id)  # for as long as this task lasts, which is the stream's
    relay = current_relay(reader.joined_at)
    relay.add(reader)
    watch = asyncio.create_task(_end_with_client(reader, receive))
    try:
        with suppress(Error, TimeoutError):  # the client comes back with its number: nothing is lost
            async with asyncio.timeout(_lifetime(reader)) as reader.lifetime:
                await _send_events(reader, relay, send)
    finally:
        watch.cancel()
        streams.give_up_place(reader)
        relay.remove(reader)
    await send({"type": "http.response.body"})


def _lifetime(reader: StreamReader) -> float:
    """Return for how many seconds the stream lasts: no longer than the key that opened it."""
    seconds = random.uniform(*LIFETIME_SECONDS)  # noqa: S311 - spreads the reconnects, guards nothing
    if reader.ends_at is None:
        return seconds
    return min(seconds, (reader.ends_at - timezone.now()).total_seconds())


async def _end_with_client(reader: StreamReader, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end()


async def _send_events(reader: StreamReader, relay: EventRelay, send: Send) -> None:
    await send(_part(_greeting(reader)))
    # Without aclosing, the library's listener would stay until the garbage collector comes.
    async with aclosing(stream(*reader.for_library())) as texts:
        async for text in texts:
            if reader.ended:
                break
            if text:  # the library has nothing to say after a read that found nothing
                await send(_part(reader.rewritten(text, relay.position)))
            del text  # the first one has two kilobytes, and would be kept until the next


def _greeting(reader: StreamReader) -> str:
    """The first event. Its number, for a client that named none, makes even a reconnect before any event exact.

    The data says what it is, too, for clients that look at nothing else. Browsers reconnect after two seconds.
    """
    position = f"id: {reader.joined_at}\n" if reader.read_to == reader.joined_at else ""
    return f'retry: 2000\nevent: stream-open\n{position}data: {{"type": "stream-open"}}\n\n'


def _part(text: str) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
