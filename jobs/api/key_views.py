"""API keys over HTTP. Here and not beside the accounts, since a key may be for one organization."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.api_keys import MAX_KEYS_PER_USER, keys_of, make_key, revoke_key
from cloudtrain_site.accounts.scopes import ByHand
from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import ApiKey, Scope
from cloudtrain_site.names import readable_name
from cloudtrain_site.states import Actor
from cloudtrain_site.strict_views import StrictViewSet
from jobs.permissions import AnyUser, organizations_of

MAX_LIFETIME_DAYS = 3650


class ScopesField(serializers.ListField):
    """One scope or more, each once."""

    child = serializers.ChoiceField(choices=Scope.choices)

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_empty=False, max_length=len(Scope), **options)


class KeySerializer(serializers.Serializer[ApiKey]):
    """A key without its secret part. `id` is how it begins."""

    id = serializers.CharField(source="token_key")
    name = serializers.CharField()
    scopes = ScopesField()
    organization = serializers.CharField(source="organization.name", default=None, allow_null=True)
    created_at = UtcField(source="created")
    expires_at = UtcField(source="expiry", allow_null=True)
    last_used_at = UtcField(allow_null=True)
    last_used_from = serializers.CharField(allow_null=True, help_text="The address of the last request with it.")
    expired = serializers.BooleanField(source="is_expired")


class NewKeySerializer(KeySerializer):
    """A new key. No other response shows the key itself."""

    key = serializers.CharField()


class KeyListSerializer(serializers.Serializer[Any]):
    """Your keys, newest first."""

    keys = KeySerializer(many=True)


class RevokedKeySerializer(serializers.Serializer[Any]):
    """The revoked key."""

    success = SuccessField()
    id = serializers.CharField()


class NewKeyBody(StrictSerializer):
    """A new key: its name, its scopes, its organization, and the days until it expires.

    Without `scopes` it can do all that you can. Without `organization` it works in all of your organizations.
    """

    name = serializers.CharField(max_length=100, validators=[readable_name])
    scopes = ScopesField(required=False)
    organization = serializers.CharField(max_length=100, required=False, allow_null=True, allow_blank=True)
    days = serializers.IntegerField(min_value=1, max_value=MAX_LIFETIME_DAYS, default=365)


class KeyViewSet(StrictViewSet):
    permission_classes = [ByHand]
    lookup_url_kwarg = "key_id"

    @extend_schema(operation_id="account_keys_list", responses=KeyListSerializer)
    def list(self, request: Request) -> Response:
        """List your keys."""
        return rendered(KeyListSerializer, {"keys": keys_of(current_user(request))})

    @extend_schema(request=NewKeyBody, responses={201: NewKeySerializer})
    @raises(Conflict)
    def create(self, request: Request) -> Response:
        """Create a key."""
        body = checked(NewKeyBody, request.data)
        organization = body.get("organization")
        made = make_key(
            current_user(request),
            body["name"],
            timedelta(days=body["days"]),
            by=Actor.of(request.user),
            scopes=body.get("scopes", list(Scope)),
            organization_id=_organization_id(request.user, organization) if organization else None,
        )
        if made is None:
            raise Conflict(
                f"You have {MAX_KEYS_PER_USER} keys. Revoke a key that you no longer use.", code="too_many_keys"
            )
        row, key = made
        row.key = key
        return rendered(NewKeySerializer, row, status=201)

    @extend_schema(responses={200: RevokedKeySerializer})
    def destroy(self, request: Request, key_id: str) -> Response:
        """Revoke a key."""
        if not revoke_key(current_user(request), key_id, by=Actor.of(request.user)):
            raise Http404
        return rendered(RevokedKeySerializer, {"id": key_id})


def _organization_id(user: AnyUser, name: str) -> int:
    organization_id = organizations_of(user).filter(name=name).values_list("pk", flat=True).first()
    if organization_id is None:
        raise serializers.ValidationError({"organization": f"You aren't a member of an organization called “{name}”."})
    return organization_id
