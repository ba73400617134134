"""One's own account over HTTP: preferences, and the keys for the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.validators import RegexValidator
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.accounts.api_keys import MOST_KEYS, keys_of, make_key, revoke_key
from cloudtrain_site.accounts.preferences import change_preferences, time_zone_of, time_zones, wanted_mail
from cloudtrain_site.api import StrictSerializer, current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import mail_kinds
from cloudtrain_site.models import ApiKey

LONGEST_DAYS = 3650
one_line = RegexValidator(r"\A[^\x00-\x1f\x7f]+\Z", "A name has no control characters.", code="invalid_name")


class ByHand(BasePermission):
    """Only a person who signed in: a key that leaked must not make others, nor lock its owner out."""

    message = "Keys are made and revoked by who is signed in, not with a key."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether no key was shown."""
        return request.user.is_authenticated and request.auth is None


class KeyShape(serializers.Serializer[Any]):
    """A key without the key: `id` is what it begins with."""

    id = serializers.CharField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    expired = serializers.BooleanField()


class NewKeyShape(KeyShape):
    """A new key: the only answer that ever has the key itself."""

    key = serializers.CharField()


class KeyListShape(serializers.Serializer[Any]):
    """One's own keys, newest first."""

    keys = KeyShape(many=True)


class RevokedShape(serializers.Serializer[Any]):
    """The key is of no use any more."""

    success = serializers.BooleanField()
    id = serializers.CharField()


class NewKeyBody(StrictSerializer):
    """What a key is for, and for how long."""

    name = serializers.CharField(max_length=100, validators=[one_line])
    days = serializers.IntegerField(min_value=1, max_value=LONGEST_DAYS, default=365)


class AccountShape(serializers.Serializer[Any]):
    """Who one is, and what one chose."""

    username = serializers.CharField()
    email = serializers.CharField()
    time_zone = serializers.CharField()
    mail = serializers.DictField(child=serializers.BooleanField())


class AccountBody(StrictSerializer):
    """What to change; the rest stays."""

    time_zone = serializers.CharField(max_length=60, required=False, allow_blank=True)
    mail = serializers.DictField(child=serializers.BooleanField(), required=False)

    def validate_time_zone(self, name: str) -> str:
        """One that there is; empty for the browser's."""
        if name and name not in time_zones():
            raise serializers.ValidationError(f"There is no time zone {name!r}. One is Europe/Berlin, for example.")
        return name

    def validate_mail(self, wanted: dict[str, bool]) -> dict[str, bool]:
        """Kinds that there are."""
        unknown = sorted(set(wanted) - set(mail_kinds))
        if unknown:
            raise serializers.ValidationError(f"There is no mail {unknown[0]!r}. There is: {', '.join(mail_kinds)}.")
        return wanted


class Account(APIView):
    """Who asks, and what they chose for themselves."""

    def _answer(self, request: Request) -> Response:
        user = current_user(request)
        chosen = {"time_zone": time_zone_of(user), "mail": wanted_mail(user)}
        return Response({"username": user.get_username(), "email": user.email, **chosen})

    @extend_schema(responses=AccountShape)
    def get(self, request: Request) -> Response:
        return self._answer(request)

    @extend_schema(request=AccountBody, responses=AccountShape)
    def patch(self, request: Request) -> Response:
        body = AccountBody(data=request.data)
        body.is_valid(raise_exception=True)
        change_preferences(current_user(request), **body.validated_data)
        return self._answer(request)


def represent_key(key: ApiKey) -> dict[str, Any]:
    """A key as its owner sees it."""
    return {
        "id": key.token_key,
        "name": key.name,
        "created_at": key.created,
        "expires_at": key.expiry,
        "last_used_at": key.last_used_at,
        "expired": key.is_expired,
    }


class KeyList(APIView):
    """One's own keys."""

    permission_classes = [ByHand]

    @extend_schema(operation_id="account_keys_list", responses=KeyListShape)
    def get(self, request: Request) -> Response:
        return Response(KeyListShape({"keys": [represent_key(key) for key in keys_of(current_user(request))]}).data)

    @extend_schema(request=NewKeyBody, responses={201: NewKeyShape})
    def post(self, request: Request) -> Response:
        body = NewKeyBody(data=request.data)
        body.is_valid(raise_exception=True)
        user, wanted = current_user(request), body.validated_data
        made = make_key(user, wanted["name"], timedelta(days=wanted["days"]))
        if made is None:
            raise Conflict(f"You have {MOST_KEYS} keys. Revoke one that is no longer used.", code="too_many_keys")
        row, key = made
        answer = Response(NewKeyShape({**represent_key(row), "key": key}).data, status=201)
        answer["Cache-Control"] = "no-store"
        return answer


class KeyDetail(APIView):
    """One of one's own keys."""

    permission_classes = [ByHand]

    @extend_schema(responses=RevokedShape)
    def delete(self, request: Request, key_id: str) -> Response:
        if not revoke_key(current_user(request), key_id):
            raise Http404
        return Response({"success": True, "id": key_id})
