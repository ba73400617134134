"""An organization's tags over HTTP: its members read them, its admins change them."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.errors import field_errors
from jobs.api.organization_views import find_administered, find_organization
from jobs.organizations.tags import add_tag, find_tag, remove_tag, rename_tag, tags_of
from jobs.tags.serializers import RemovedTagSerializer, TagBody, TagDetailSerializer, TagListSerializer


class TagViewSet(StrictViewSet):
    """The tags of an organization."""

    @extend_schema(operation_id="tags_list", responses=TagListSerializer)
    def list(self, request: Request, organization: str) -> Response:
        """List the tags."""
        return rendered(TagListSerializer, {"tags": tags_of(find_organization(request.user, organization))})

    @extend_schema(request=TagBody, responses={201: TagDetailSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request, organization: str) -> Response:
        """Add a tag, as an admin of the organization."""
        found = find_administered(request, organization)
        with field_errors():
            tag = add_tag(found, checked(TagBody, request.data)["name"], by=current_user(request))
        return rendered(TagDetailSerializer, {"tag": {"name": tag.name, "jobs": 0}}, status=201)

    @extend_schema(request=TagBody, responses=TagDetailSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def partial_update(self, request: Request, organization: str, tag: str) -> Response:
        """Rename a tag, on all jobs that have it."""
        found = find_tag(find_administered(request, organization), tag)
        with field_errors():
            rename_tag(found, checked(TagBody, request.data)["name"], by=current_user(request))
        return rendered(TagDetailSerializer, {"tag": found})

    @extend_schema(responses={200: RemovedTagSerializer})
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, organization: str, tag: str) -> Response:
        """Remove a tag, from all jobs that have it."""
        found = find_tag(find_administered(request, organization), tag)
        jobs = remove_tag(found, by=current_user(request)) or 0
        return rendered(RemovedTagSerializer, {"name": found.name, "jobs": jobs})
