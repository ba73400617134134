"""The channels of an organization's notices over HTTP, for its admins."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import Scope
from cloudtrain_site.names import readable_name
from cloudtrain_site.notices import channels
from cloudtrain_site.notices.channels import MAX_LIST_ADDRESSES, Made, Owner
from cloudtrain_site.notices.models import ORGANIZATION_KINDS, Channel
from cloudtrain_site.notices.targets import ADDRESS_LIMIT
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.organization_views import find_administered


class ChannelSerializer(serializers.Serializer[Channel]):
    """A channel. The secret parts of its address are hidden."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=ORGANIZATION_KINDS)
    name = serializers.CharField()
    address = serializers.CharField(source="shown_to_owner")
    muted = serializers.ListField(
        child=serializers.CharField(), help_text="The kinds of notices that it doesn't receive."
    )
    on = serializers.BooleanField(source="is_on")
    off_reason = serializers.CharField()
    created_at = UtcField()


class ChannelListSerializer(serializers.Serializer[Any]):
    """The organization's channels, the oldest first."""

    channels = ChannelSerializer(many=True)
    kinds = serializers.DictField(
        child=serializers.CharField(), help_text="The kinds of notices that can be muted, with their labels."
    )


class ChannelDetailSerializer(serializers.Serializer[Any]):
    channel = ChannelSerializer()


class NewChannelSerializer(serializers.Serializer[Made]):
    """A channel and its secret, which no other response shows."""

    channel = ChannelSerializer()
    secret = serializers.CharField(help_text="Signs webhooks; empty for mail and chat.")


class ChangeChannelBody(StrictSerializer):
    """The fields to change; a missing field stays unchanged."""

    name = serializers.CharField(max_length=100, required=False, allow_blank=True, validators=[readable_name])
    muted = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, max_length=100, validators=[channels.check_kinds]
    )
    on = serializers.BooleanField(required=False)


class NewChannelBody(ChangeChannelBody):
    """A new channel: an address, or the addresses of a mail list."""

    kind = serializers.ChoiceField(choices=ORGANIZATION_KINDS)
    addresses = serializers.ListField(
        child=serializers.CharField(max_length=ADDRESS_LIMIT), min_length=1, max_length=MAX_LIST_ADDRESSES
    )
    on = None  # type: ignore[assignment]


class RemovedChannelSerializer(serializers.Serializer[Channel]):
    """The removed channel."""

    success = SuccessField()
    id = serializers.IntegerField()


class ChannelTestSerializer(serializers.Serializer[Any]):
    success = SuccessField()
    id = serializers.IntegerField(
        help_text="The channel's id. `GET /api/notices/deliveries` shows whether the test was delivered."
    )


class ChannelViewSet(StrictViewSet):
    """The channels over which an organization's notices are sent."""

    lookup_url_kwarg = "channel_id"
    lookup_value_converter = "int"

    @extend_schema(operation_id="notice_channels_list", responses=ChannelListSerializer)
    @needs(Scope.ADMINISTER)
    def list(self, request: Request, organization: str) -> Response:
        """List an organization's notice channels."""
        rows = _owner(request, organization).channels()
        return rendered(ChannelListSerializer, {"channels": rows, "kinds": notice_choices()})

    @extend_schema(request=NewChannelBody, responses={201: NewChannelSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request, organization: str) -> Response:
        """Add a notice channel."""
        owner = _owner(request, organization)
        made = channels.add_channel(owner, **checked(NewChannelBody, request.data))
        return rendered(NewChannelSerializer, made, status=201)

    @extend_schema(request=ChangeChannelBody, responses=ChannelDetailSerializer)
    @needs(Scope.ADMINISTER)
    def partial_update(self, request: Request, organization: str, channel_id: int) -> Response:
        """Change a notice channel."""
        owner, channel = _found(request, organization, channel_id)
        channels.change_channel(owner, channel, **checked(ChangeChannelBody, request.data))
        return rendered(ChannelDetailSerializer, {"channel": channel})

    @extend_schema(responses={200: RemovedChannelSerializer})
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, organization: str, channel_id: int) -> Response:
        """Remove a notice channel."""
        owner, channel = _found(request, organization, channel_id)
        channels.remove_channel(owner, channel)
        return rendered(RemovedChannelSerializer, {"id": channel_id})

    @extend_schema(request=None, responses=ChannelTestSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    @action(methods=["post"], detail=True)
    def test(self, request: Request, organization: str, channel_id: int) -> Response:
        """Send a test over a notice channel."""
        channels.send_test(*_found(request, organization, channel_id))
        return rendered(ChannelTestSerializer, {"id": channel_id})

    @extend_schema(request=None, responses={201: NewChannelSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    @action(methods=["post"], detail=True)
    def secret(self, request: Request, organization: str, channel_id: int) -> Response:
        """Replace the secret that signs a webhook.

        The old secret signs too for one more day.
        """
        owner, channel = _found(request, organization, channel_id)
        return rendered(NewChannelSerializer, Made(channel, channels.rotate_secret(owner, channel)), status=201)


def _owner(request: Request, organization: str) -> Owner:
    return Owner(organization=find_administered(request, organization), by=current_user(request))


def _found(request: Request, organization: str, channel_id: int) -> tuple[Owner, Channel]:
    owner = _owner(request, organization)
    return owner, get_object_or_404(owner.channels(), pk=channel_id)
