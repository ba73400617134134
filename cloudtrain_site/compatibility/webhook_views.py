"""One's own webhooks, which are channels of notices, by the names of SimpleTuner's command line: `webhooks`."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, as_utc, checked, current_user, raises, takes
from cloudtrain_site.compatibility.channel_views import MAX_LIMIT, SIGNING, owner_of
from cloudtrain_site.compatibility.elsewhere import CompatibleView, NotHereError
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import Scope
from cloudtrain_site.names import readable_name
from cloudtrain_site.notices import channels
from cloudtrain_site.notices.models import Channel, ChannelKind, Delivery
from cloudtrain_site.notices.targets import ADDRESS_LIMIT

FIXED_ADDRESS = "A webhook's address stays: remove the webhook, and add one with the other address."


class WebhookBody(StrictSerializer):
    name = serializers.CharField(max_length=100, required=False, validators=[readable_name])
    url = serializers.CharField(max_length=ADDRESS_LIMIT, required=False)
    events = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, max_length=100, validators=[channels.check_kinds]
    )
    secret = serializers.CharField(required=False)
    enabled = serializers.BooleanField(required=False)


class TestBody(StrictSerializer):
    event_type = serializers.CharField(max_length=40, default="test")


class HistoryQuery(StrictSerializer):
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=20)


class Webhooks(CompatibleView):
    def get(self, request: Request) -> Response:
        """List one's own webhooks."""
        rows = owner_of(request).channels().filter(kind=ChannelKind.WEBHOOK)
        return Response({"webhooks": [_shown(row, request) for row in rows]})

    @extend_schema(request=WebhookBody)
    @raises(Conflict, NotHereError)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request) -> Response:
        """Add a webhook.

        The secret that signs it is in this answer alone.
        """
        body = _checked(request)
        if not body.get("url"):
            raise serializers.ValidationError({"url": ["Say the address."]})
        muted = _muted(request, body) or set()
        owner = owner_of(request)
        made = channels.add_channel(
            owner, ChannelKind.WEBHOOK, name=body.get("name", ""), addresses=[body["url"]], muted=muted
        )
        if body.get("enabled") is False:
            channels.change_channel(owner, made.channel, on=False)
        return Response({"webhook": {**_shown(made.channel, request), "secret": made.secret}}, status=201)


class OneWebhook(CompatibleView):
    def get(self, request: Request, channel_id: int) -> Response:
        """Show a webhook of one's own."""
        return Response(_shown(_find(request, channel_id), request))

    @extend_schema(request=WebhookBody)
    @raises(NotHereError)
    @needs(Scope.ADMINISTER)
    def patch(self, request: Request, channel_id: int) -> Response:
        """Change a webhook."""
        channel, body = _find(request, channel_id), _checked(request)
        if "url" in body:
            raise NotHereError(FIXED_ADDRESS)
        channels.change_channel(
            owner_of(request), channel, name=body.get("name"), muted=_muted(request, body), on=body.get("enabled")
        )
        return Response({"webhook": _shown(channel, request)})

    @needs(Scope.ADMINISTER)
    def delete(self, request: Request, channel_id: int) -> Response:
        """Remove a webhook."""
        channels.remove_channel(owner_of(request), _find(request, channel_id))
        return Response({"success": True})


class WebhookTest(CompatibleView):
    @extend_schema(request=TestBody)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request, channel_id: int) -> Response:
        """Send a test; the history shows what became of it."""
        checked(TestBody, request.data or {})
        channels.send_test(owner_of(request), _find(request, channel_id))
        return Response({"success": True})


class WebhookHistory(CompatibleView):
    """Of one webhook, or of all that are the asker's."""

    @takes(HistoryQuery)
    def get(self, request: Request, channel_id: int | None = None) -> Response:
        """List what was sent."""
        rows = owner_of(request).deliveries().filter(kind=ChannelKind.WEBHOOK)
        if channel_id is not None:
            rows = rows.filter(channel=_find(request, channel_id))
        limit = self.query["limit"]
        return Response({"deliveries": [_entry(row) for row in rows[:limit]]})


class WebhookEvents(CompatibleView):
    def get(self, request: Request) -> Response:
        """List the kinds of notices."""
        kinds = notice_choices(current_user(request))
        return Response({"events": [{"name": name, "description": label} for name, label in kinds.items()]})


def _checked(request: Request) -> dict[str, Any]:
    body = checked(WebhookBody, request.data)
    if "secret" in body:
        raise NotHereError(SIGNING)
    return body


def _find(request: Request, channel_id: int) -> Channel:
    rows = owner_of(request).channels().filter(kind=ChannelKind.WEBHOOK)
    return get_object_or_404(rows, pk=channel_id)


def _muted(request: Request, body: dict[str, Any]) -> set[str] | None:
    """Return the kinds that the webhook doesn't receive: all but those that are listed. None: nothing is said."""
    return set(notice_choices(current_user(request))) - set(body["events"]) if "events" in body else None


def _shown(channel: Channel, request: Request) -> dict[str, Any]:
    received = [name for name in notice_choices(current_user(request)) if name not in channel.muted]
    return {
        "id": channel.pk,
        "name": channel.name or "webhook",
        "url": channel.shown_to_owner,
        "enabled": channel.is_on,
        "has_secret": True,
        "events": received,
        "created_at": as_utc(channel.created_at),
    }


def _entry(delivery: Delivery) -> dict[str, Any]:
    return {
        "timestamp": as_utc(delivery.done_at or delivery.created_at),
        "webhook_id": delivery.channel_id or "-",
        "event_type": delivery.notice.kind,
        "success": delivery.is_sent,
        "response_status": delivery.state,
        "response_time_ms": 0,
    }
