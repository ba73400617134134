"""The saved views of the list of jobs over HTTP."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.errors import field_errors
from jobs.api.organization_views import find_organization
from jobs.models import SavedView
from jobs.models.view import MAX_NAME, MAX_QUERY
from jobs.organizations.saved_lists import remove_view, save_view, views_for
from jobs.permissions import teams_of
from jobs.queries import LIST_PARAMETERS


class SavedViewSerializer(serializers.Serializer[SavedView]):
    """A name for an address of the list of jobs."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    query = serializers.CharField(help_text="What follows the question mark, such as status=failed&mine=true.")
    organization = serializers.CharField(
        source="organization.name", default=None, allow_null=True, help_text="Whose members see it. Null: its owner."
    )
    owner = serializers.CharField(source="owner.username")
    created_at = UtcField()


class SavedViewListSerializer(serializers.Serializer[Any]):
    views = SavedViewSerializer(many=True)


class SavedViewDetailSerializer(serializers.Serializer[Any]):
    view = SavedViewSerializer()


class RemovedViewSerializer(serializers.Serializer[Any]):
    """The removed view."""

    success = SuccessField()
    name = serializers.CharField()


class SavedViewBody(StrictSerializer):
    """A new view: your own, or with an organization its members'."""

    name = serializers.CharField(max_length=MAX_NAME)
    query = serializers.CharField(max_length=MAX_QUERY, allow_blank=True, default="")
    organization = serializers.CharField(max_length=100, required=False, allow_null=True)

    def validate_query(self, query: str) -> QueryDict:
        parameters = QueryDict(query.removeprefix("?"))
        if unknown := sorted(set(parameters) - set(LIST_PARAMETERS)):
            raise serializers.ValidationError(
                f"Unknown parameter “{unknown[0]}”. Known parameters: {', '.join(sorted(LIST_PARAMETERS))}."
            )
        return parameters


class SavedViewSet(StrictViewSet):
    """The saved views of the list of jobs."""

    @extend_schema(operation_id="saved_views_list", responses=SavedViewListSerializer)
    def list(self, request: Request) -> Response:
        """List your saved views and those of your organizations."""
        views = views_for(request.user, teams_of(request.user)).select_related("organization", "owner")
        return rendered(SavedViewListSerializer, {"views": views})

    @extend_schema(request=SavedViewBody, responses={201: SavedViewDetailSerializer})
    @raises(Conflict)
    @needs(Scope.SUBMIT)
    def create(self, request: Request) -> Response:
        """Save a view of the list of jobs."""
        body = checked(SavedViewBody, request.data)
        user, name = current_user(request), body.get("organization")
        if not name and organization_of_key(user) is not None:
            raise exceptions.PermissionDenied("This key is for one organization. Name it in `organization`.")
        organization = find_organization(user, name) if name else None
        with field_errors():
            view = save_view(body["name"], body["query"], by=user, organization=organization)
        return rendered(SavedViewDetailSerializer, {"view": view}, status=201)

    @extend_schema(responses={200: RemovedViewSerializer})
    @needs(Scope.SUBMIT)
    def destroy(self, request: Request, view_id: int) -> Response:
        """Remove a saved view."""
        user = current_user(request)
        return rendered(RemovedViewSerializer, {"name": remove_view(view_id, by=user, teams=teams_of(user)).name})
