"""One's own channels of notices by the names of SimpleTuner's command line: `notifications`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, as_utc, checked, current_user, raises, takes
from cloudtrain_site.compatibility.elsewhere import CompatibleView, NotHereError
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import Scope
from cloudtrain_site.names import readable_name
from cloudtrain_site.notices import channels
from cloudtrain_site.notices.channels import Owner
from cloudtrain_site.notices.models import Channel, ChannelKind, Delivery
from cloudtrain_site.notices.targets import ADDRESS_LIMIT

#: SimpleTuner's types of channels, and our kinds.
KINDS: Mapping[str, str] = {"webhook": ChannelKind.WEBHOOK, "slack": ChannelKind.CHAT}
TYPES: Mapping[str, str] = {kind: name for name, kind in KINDS.items()}
MAIL = "Mail goes to one's own address, as /notices says, over the site's mail server, which EMAIL_URL names."
SIGNING = "The site creates the secret that signs a webhook and shows it once: leave it out."
MAX_LIMIT = 500


class ChangedChannelBody(StrictSerializer):
    name = serializers.CharField(max_length=100, required=False, validators=[readable_name])
    is_enabled = serializers.BooleanField(required=False)


@extend_schema_serializer(component_name="SimpleTunerNewChannelBody")
class NewChannelBody(ChangedChannelBody):
    channel_type = serializers.CharField(max_length=20)
    webhook_url = serializers.CharField(max_length=ADDRESS_LIMIT)
    webhook_secret = serializers.CharField(required=False)


class HistoryQuery(StrictSerializer):
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=50)
    channel_id = serializers.IntegerField(min_value=1, required=False)


class Channels(CompatibleView):
    def get(self, request: Request) -> Response:
        """List one's own channels."""
        return Response({"channels": [shown(one) for one in owner_of(request).channels()]})

    @extend_schema(request=NewChannelBody)
    @raises(Conflict, NotHereError)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request) -> Response:
        """Add a channel of one's own.

        The secret that signs a webhook is in the answer alone.
        """
        data = request.data
        if isinstance(data, dict) and data.get("channel_type") == "email":
            raise NotHereError(MAIL)
        body = checked(NewChannelBody, data)
        if "webhook_secret" in body:
            raise NotHereError(SIGNING)
        kind = KINDS.get(body["channel_type"])
        if kind is None:
            raise serializers.ValidationError({"channel_type": [f"There are: {', '.join(KINDS)}."]})
        made = channels.add_channel(owner_of(request), kind, name=body.get("name", ""), addresses=[body["webhook_url"]])
        return Response({**shown(made.channel), "secret": made.secret}, status=201)


class OneChannel(CompatibleView):
    def get(self, request: Request, channel_id: int) -> Response:
        """Show a channel of one's own."""
        return Response(shown(find_channel(request, channel_id)))

    @extend_schema(request=ChangedChannelBody)
    @needs(Scope.ADMINISTER)
    def patch(self, request: Request, channel_id: int) -> Response:
        """Rename a channel, or switch it on or off."""
        channel, body = find_channel(request, channel_id), checked(ChangedChannelBody, request.data)
        channels.change_channel(owner_of(request), channel, name=body.get("name"), on=body.get("is_enabled"))
        return Response(shown(channel))

    @needs(Scope.ADMINISTER)
    def delete(self, request: Request, channel_id: int) -> Response:
        """Remove a channel."""
        channels.remove_channel(owner_of(request), find_channel(request, channel_id))
        return Response({"success": True})


class ChannelTest(CompatibleView):
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request, channel_id: int) -> Response:
        """Send a test over a channel.

        The history shows what became of it.
        """
        channels.send_test(owner_of(request), find_channel(request, channel_id))
        return Response({"success": True})


class Events(CompatibleView):
    def get(self, request: Request) -> Response:
        """List the kinds of notices."""
        kinds = notice_choices(current_user(request))
        listed = [
            {"id": name, "name": label, "category": "Notices", "description": ""} for name, label in kinds.items()
        ]
        return Response({"event_types": listed})


class History(CompatibleView):
    @takes(HistoryQuery)
    def get(self, request: Request) -> Response:
        """List what became of one's notices."""
        rows = owner_of(request).deliveries()
        if "channel_id" in self.query:
            rows = rows.filter(channel=self.query["channel_id"])
        return Response({"entries": [_entry(row) for row in rows[: self.query["limit"]]]})


class Status(CompatibleView):
    def get(self, request: Request) -> Response:
        """Count one's own channels."""
        rows = list(owner_of(request).channels())
        by_type = Counter(_type_of(one) for one in rows)
        counts = {"total": len(rows), "enabled": sum(one.is_on for one in rows), "by_type": by_type}
        return Response({"initialized": True, "channels": counts, "response_handlers": {"total": 0, "running": 0}})


class Skip(CompatibleView):
    @needs(Scope.READ)
    def post(self, request: Request) -> Response:
        """Do nothing: nothing here asks anybody to set notices up."""
        return Response({"success": True})


def owner_of(request: Request) -> Owner:
    return Owner(current_user(request))


def find_channel(request: Request, channel_id: int) -> Channel:
    """Return a channel of the asker's. Raises Http404."""
    return get_object_or_404(owner_of(request).channels(), pk=channel_id)


def _type_of(channel: Channel) -> str:
    return TYPES.get(channel.kind, channel.kind)


def shown(channel: Channel) -> dict[str, Any]:
    """Return a channel as SimpleTuner's command line shows it; its address without what is secret in it."""
    return {
        "id": channel.pk,
        "name": channel.name or _type_of(channel),
        "channel_type": _type_of(channel),
        "is_enabled": channel.is_on,
        "webhook_url": channel.shown_to_owner,
    }


def _entry(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.pk,
        "sent_at": as_utc(delivery.done_at or delivery.created_at),
        "event_type": delivery.notice.kind,
        "channel_id": delivery.channel_id or "-",
        "recipient": delivery.shown,
        "delivery_status": delivery.state,
    }
