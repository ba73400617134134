"""One's own account over HTTP: preferences, and the keys for the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from cloudtrain_site.accounts.api_keys import MAX_KEYS_PER_USER, keys_of, make_key, revoke_key
from cloudtrain_site.accounts.preferences import change_preferences, mail_choices, time_zone_of, time_zones
from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import ApiKey
from cloudtrain_site.names import readable_name

MAX_LIFETIME_DAYS = 3650


class ByHand(BasePermission):
    """Only for a signed-in user: a leaked key must not make other keys, nor lock its owner out."""

    message = "Keys are made and revoked by who is signed in, not with a key."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.user.is_authenticated and request.auth is None


class KeySerializer(serializers.Serializer[ApiKey]):
    """A key without the key: `id` is what it begins with."""

    id = serializers.CharField(source="token_key")
    name = serializers.CharField()
    created_at = UtcField(source="created")
    expires_at = UtcField(source="expiry", allow_null=True)
    last_used_at = UtcField(allow_null=True)
    expired = serializers.BooleanField(source="is_expired")


class NewKeySerializer(KeySerializer):
    """A new key: the only answer that ever has the key itself."""

    key = serializers.CharField()


class KeyListSerializer(serializers.Serializer[Any]):
    """One's own keys, newest first."""

    keys = KeySerializer(many=True)


class RevokedKeySerializer(serializers.Serializer[Any]):
    """The revoked key."""

    success = SuccessField()
    id = serializers.CharField()


class NewKeyBody(StrictSerializer):
    """The purpose and the lifetime of a new key."""

    name = serializers.CharField(max_length=100, validators=[readable_name])
    days = serializers.IntegerField(min_value=1, max_value=MAX_LIFETIME_DAYS, default=365)


class AccountSerializer(serializers.Serializer[User]):
    """A user and their preferences."""

    username = serializers.CharField()
    email = serializers.CharField()
    time_zone = serializers.SerializerMethodField()
    mail = serializers.SerializerMethodField()

    def get_time_zone(self, user: User) -> str:
        return time_zone_of(user)

    def get_mail(self, user: User) -> dict[str, bool]:
        return mail_choices(user)


class AccountBody(StrictSerializer):
    """The preferences to change; a missing field stays unchanged."""

    time_zone = serializers.CharField(max_length=60, required=False, allow_blank=True)
    mail = serializers.DictField(child=serializers.BooleanField(), required=False)

    def validate_time_zone(self, name: str) -> str:
        if name and name not in time_zones():
            raise serializers.ValidationError(f"There is no time zone {name!r}. One is Europe/Berlin, for example.")
        return name

    def validate_mail(self, mail: dict[str, bool]) -> dict[str, bool]:
        choices = notice_choices()
        unknown = sorted(set(mail) - set(choices))
        if unknown:
            raise serializers.ValidationError(f"There is no mail {unknown[0]!r}. There is: {', '.join(choices)}.")
        return mail


class Account(APIView):
    @extend_schema(responses=AccountSerializer)
    def get(self, request: Request) -> Response:
        """Show your account."""
        return rendered(AccountSerializer, current_user(request))

    @extend_schema(request=AccountBody, responses=AccountSerializer)
    def patch(self, request: Request) -> Response:
        """Change your preferences."""
        user = current_user(request)
        change_preferences(user, **checked(AccountBody, request.data))
        return rendered(AccountSerializer, user)


class KeyViewSet(ViewSet):
    permission_classes = [ByHand]
    lookup_url_kwarg = "key_id"

    @extend_schema(operation_id="account_keys_list", responses=KeyListSerializer)
    def list(self, request: Request) -> Response:
        """List your keys."""
        return rendered(KeyListSerializer, {"keys": keys_of(current_user(request))})

    @extend_schema(request=NewKeyBody, responses={201: NewKeySerializer})
    @raises(Conflict)
    def create(self, request: Request) -> Response:
        """Make a key."""
        fields = checked(NewKeyBody, request.data)
        made = make_key(current_user(request), fields["name"], timedelta(days=fields["days"]))
        if made is None:
            raise Conflict(
                f"You have {MAX_KEYS_PER_USER} keys. Revoke one that is no longer used.", code="too_many_keys"
            )
        row, key = made
        row.key = key
        return rendered(NewKeySerializer, row, status=201)

    @extend_schema(responses={200: RevokedKeySerializer})
    def destroy(self, request: Request, key_id: str) -> Response:
        """Revoke a key."""
        if not revoke_key(current_user(request), key_id):
            raise Http404
        return rendered(RevokedKeySerializer, {"id": key_id})
