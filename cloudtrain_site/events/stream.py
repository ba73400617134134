"""`GET /api/events`: what a user may know, as it happens, over one long response."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.request import Request

from cloudtrain_site.api import KeyAuthentication
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.correlation_ids import get_correlation_id, set_correlation_id
from cloudtrain_site.errors import error_body
from cloudtrain_site.events.publish import USER_CHANNEL
from cloudtrain_site.events.relay import EventRelay, Subscription, current_relay
from cloudtrain_site.events.store import StoredEvent, current_number, first_kept, read_after
from cloudtrain_site.serving.asgi_types import Receive, Send
from cloudtrain_site.serving.deferred_responses import send_later

#: A stream ends after a time between these two, so that rights are checked again, and not everybody's at once.
LIFETIME_SECONDS = (600.0, 900.0)
KEEP_ALIVE_SECONDS = 20.0
RESUME_BATCH = 200
#: How soon a browser reconnects; and enough of a comment to get through proxies that wait for 2 kB.
PREAMBLE = f"retry: 2000\n:{' ' * 2048}\n\n".encode()


@dataclass(slots=True)
class Reader:
    """Whose stream it is, what they may read, and how far they have read."""

    user_id: int
    channels: frozenset[str]
    #: The newest number when the rights were read: a later change of them ends the stream, an earlier one is in them.
    joined_at: int
    #: The last number that the client has; None when it named one that we don't know.
    sent: int | None
    ended: bool = False

    def greeting(self) -> str:
        """The first event. Its number, for a client that named none, makes even a reconnect before any event exact."""
        return _named("stream-open", self.sent if self.sent == self.joined_at else None)

    def catch_up(self) -> str | None:
        """The next of what was missed, from the database; None when there is no more, and when the rights changed."""
        if self.sent is None:
            return self._reset()
        missed = read_after(self.sent, RESUME_BATCH, self.channels | {f"{USER_CHANNEL}{self.user_id}"})
        # Asked after the rows were read: a trim in between would go unnoticed the other way round.
        if first_kept() > self.sent + 1:
            return self._reset()
        self.ended = any(event.changed_rights_of == self.user_id and event.number > self.joined_at for event in missed)
        return self.text_of(missed) if missed and not self.ended else None

    def text_of(self, events: list[StoredEvent]) -> str:
        """The text of those of `events` that were not sent before; they count as sent from here on."""
        parts = []
        for event in events:
            if self.sent is not None and event.number > self.sent:
                self.sent = event.number
                parts.append("" if event.changed_rights_of else _message(event))
        return "".join(parts)

    def keep_alive(self, position: int) -> str:
        """A comment; and the relay's position, so that an idle client need not read a day's foreign events later."""
        if self.sent is None or position <= self.sent:
            return ": keep-alive\n\n"
        self.sent = position
        return f": keep-alive\nid: {position}\n\n"

    def _reset(self) -> str:
        self.sent = self.joined_at
        return _named("stream-reset", self.sent)


@csrf_exempt
async def event_stream(request: HttpRequest) -> HttpResponseBase:
    """The stream; or 401 for nobody, 403 for somebody who may read no channel, 405 for anything but GET."""
    if request.method != "GET":
        return _refusal(exceptions.MethodNotAllowed(str(request.method)), Allow="GET")
    try:
        reader = await sync_to_async(_admit)(request)
    except (exceptions.NotAuthenticated, exceptions.AuthenticationFailed) as error:
        return _refusal(error, **{"WWW-Authenticate": "Bearer"})
    except exceptions.PermissionDenied as error:
        return _refusal(error)
    if not send_later(request, partial(_send_stream, reader, get_correlation_id())):
        return _refusal(NotServedHere())
    response = HttpResponse(content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


class NotServedHere(exceptions.APIException):
    """For a server that keeps Django's thread for as long as a response lasts, like `runserver`."""

    status_code = 501
    default_detail = f"Events are streamed by `{COMMAND} up` and `python -m cloudtrain_site.web` alone."
    default_code = "not_implemented"


def _admit(request: HttpRequest) -> Reader:
    newest = current_number()
    keyed = KeyAuthentication().authenticate(Request(request))
    if keyed is not None:
        request.user = keyed[0]
    if not request.user.is_authenticated:
        raise exceptions.NotAuthenticated
    channels = import_string(settings.EVENTSTREAM_CHANNELMANAGER_CLASS)().get_channels_for_request(request, {})
    if not channels:
        raise exceptions.PermissionDenied("There are no events that you may see.")
    return Reader(request.user.pk, frozenset(channels), joined_at=newest, sent=_last_seen(request, newest))


def _last_seen(request: HttpRequest, newest: int) -> int | None:
    """The number that the client has already; `newest` when it names none, None when we never gave that one out."""
    said = [request.headers.get("Last-Event-ID"), request.GET.get("last_event_id"), request.GET.get("lastEventId")]
    text = next(filter(None, said), None)
    if text is None:
        return newest
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    return int(text) if int(text) <= newest else None


def _refusal(error: exceptions.APIException, **headers: str) -> JsonResponse:
    body = error_body(str(error.detail), str(error.get_codes()))
    return JsonResponse(body, status=error.status_code, headers=headers)


async def _send_stream(reader: Reader, correlation_id: str, receive: Receive, send: Send) -> None:
    """The body of the response, to its end: when its time is over, the client is gone or has to come back.

    The subscription begins before the database is read: an event may be seen by both, and is then dropped by
    its number, but by at least one of them.
    """
    set_correlation_id(correlation_id)  # for as long as this task lasts, which is the stream's
    relay = current_relay(reader.joined_at)
    subscription = Subscription(reader.user_id, reader.channels, reader.joined_at)
    relay.add(subscription)
    watch = asyncio.create_task(_end_with_client(subscription, receive))
    try:
        with suppress(Error):  # the client comes back with its number: nothing is lost
            await _send_events(reader, relay, subscription, send)
    finally:
        watch.cancel()
        relay.remove(subscription)
    await send({"type": "http.response.body"})


async def _end_with_client(subscription: Subscription, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.end()


async def _send_events(reader: Reader, relay: EventRelay, subscription: Subscription, send: Send) -> None:
    """First what was missed, from the database, then what comes, from the relay; each event once."""
    clock = asyncio.get_running_loop().time
    ends_at = clock() + random.uniform(*LIFETIME_SECONDS)  # noqa: S311 - spreads the reconnects, guards nothing
    await send(_part(PREAMBLE))
    await send(_part(reader.greeting().encode()))
    while not subscription.ended and (missed := await relay.read(reader.catch_up)) is not None:
        await send(_part(missed.encode()))
    while not (reader.ended or subscription.ended) and (left := ends_at - clock()) > 0:
        events = await subscription.wait(min(left, KEEP_ALIVE_SECONDS))
        if not subscription.ended:
            text = reader.text_of(events) if events else reader.keep_alive(relay.position)
            await send(_part(text.encode()))


def _part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _message(event: StoredEvent) -> str:
    """An unnamed event, whose JSON object also says its number."""
    return f'id: {event.number}\ndata: {{"id": {event.number}, {event.data[1:]}\n\n'


def _named(name: str, number: int | None) -> str:
    """An event about the stream itself; its data says so too, for clients that look at nothing else."""
    position = "" if number is None else f"id: {number}\n"
    return f'event: {name}\n{position}data: {{"type": "{name}"}}\n\n'
