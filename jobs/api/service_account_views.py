"""The service accounts of an organization over HTTP: for its admins. Keys are made by hand alone, as one's own are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.api_keys import keys_of
from cloudtrain_site.accounts.scopes import ByHand, needs
from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.names import readable_name
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.key_views import (
    MAX_LIFETIME_DAYS,
    KeyListSerializer,
    NewKeySerializer,
    RevokedKeySerializer,
    ScopesField,
)
from jobs.models import Organization, ServiceAccount
from jobs.models.service_account import LABEL
from jobs.organizations import service_accounts
from jobs.permissions import organizations_of, role_in
from jobs.roles import Role


class ServiceAccountSerializer(serializers.Serializer[ServiceAccount]):
    """A service account; `user` is the name that its jobs have."""

    name = serializers.CharField()
    user = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(choices=Role.choices)
    made_by = serializers.CharField(source="made_by.username", default=None, allow_null=True)
    made_at = UtcField()
    last_used_at = UtcField(allow_null=True)


class ServiceAccountListSerializer(serializers.Serializer[Any]):
    """The organization's service accounts, by name."""

    service_accounts = ServiceAccountSerializer(many=True)


class ServiceAccountBody(StrictSerializer):
    """The name and the role of a new service account."""

    name = serializers.CharField(validators=[LABEL], max_length=40)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.RESEARCHER)


class RemovedServiceAccountSerializer(serializers.Serializer[Any]):
    """The removed service account."""

    success = SuccessField()
    name = serializers.CharField()


class ServiceKeyBody(StrictSerializer):
    """A new key: its name, its scopes, and the days until it expires."""

    name = serializers.CharField(max_length=100, validators=[readable_name])
    scopes = ScopesField()
    days = serializers.IntegerField(min_value=1, max_value=MAX_LIFETIME_DAYS, default=365)


class ServiceAccountViewSet(StrictViewSet):
    @extend_schema(responses=ServiceAccountListSerializer)
    def list(self, request: Request, organization: str) -> Response:
        """List the service accounts."""
        found = _administered(request, organization)
        accounts = service_accounts.service_accounts_of(found)
        return rendered(ServiceAccountListSerializer, {"service_accounts": accounts})

    @extend_schema(request=ServiceAccountBody, responses={201: ServiceAccountSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request, organization: str) -> Response:
        """Create a service account."""
        found = _administered(request, organization)
        body = checked(ServiceAccountBody, request.data)
        made = service_accounts.make_service_account(found, body["name"], Role(body["role"]), by=current_user(request))
        shown = service_accounts.find_service_account(found, made.name)
        return rendered(ServiceAccountSerializer, shown, status=201)

    @extend_schema(responses={200: RemovedServiceAccountSerializer})
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, organization: str, account: str) -> Response:
        """Remove a service account.

        Its keys stop working at once. Its jobs continue, and stay in the list under its name.
        """
        found = service_accounts.find_service_account(_administered(request, organization), account)
        if not service_accounts.remove_service_account(found, by=current_user(request)):
            raise Http404
        return rendered(RemovedServiceAccountSerializer, found)


class ServiceKeyViewSet(StrictViewSet):
    permission_classes = [ByHand]

    @extend_schema(operation_id="service_account_keys_list", responses=KeyListSerializer)
    def list(self, request: Request, organization: str, account: str) -> Response:
        """List a service account's keys."""
        found = service_accounts.find_service_account(_administered(request, organization), account)
        return rendered(KeyListSerializer, {"keys": keys_of(found.user)})

    @extend_schema(request=ServiceKeyBody, responses={201: NewKeySerializer})
    @raises(Conflict)
    def create(self, request: Request, organization: str, account: str) -> Response:
        """Create a key for a service account."""
        found = service_accounts.find_service_account(_administered(request, organization), account)
        body = checked(ServiceKeyBody, request.data)
        lifetime, user = timedelta(days=body["days"]), current_user(request)
        row, key = service_accounts.make_service_key(found, body["name"], lifetime, scopes=body["scopes"], by=user)
        row.key = key
        return rendered(NewKeySerializer, row, status=201)

    @extend_schema(responses={200: RevokedKeySerializer})
    def destroy(self, request: Request, organization: str, account: str, key_id: str) -> Response:
        """Revoke a service account's key."""
        found = service_accounts.find_service_account(_administered(request, organization), account)
        if not service_accounts.revoke_service_key(found, key_id, by=current_user(request)):
            raise Http404
        return rendered(RevokedKeySerializer, {"id": key_id})


def _administered(request: Request, name: str) -> Organization:
    """Return the organization. Raises Http404 for one that isn't the asker's, and PermissionDenied for no admin."""
    organization = organizations_of(request.user).filter(name=name).first()
    if organization is None:
        raise Http404
    if role_in(request.user, organization) != Role.ADMIN:
        raise exceptions.PermissionDenied(f"Only the admins of {organization} can do this.")
    return organization
