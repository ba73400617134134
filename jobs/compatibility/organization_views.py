"""Organizations by the names of SimpleTuner's command line: `auth orgs`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, as_utc, checked, current_user, raises, takes
from cloudtrain_site.compatibility.elsewhere import CompatibleView, NotHereError
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from jobs.api.errors import field_errors
from jobs.compatibility.people_views import shown as shown_person
from jobs.models import Organization
from jobs.organizations import endings
from jobs.organizations.authority import check_administers, check_runs_site
from jobs.organizations.members import add_member, members_of, remove_member
from jobs.permissions import AnyUser, organizations_of, role_in
from jobs.roles import Role

TEAMS = "There are no teams within an organization. Create an organization for people who share jobs and limits."
SETTINGS = "Only the name can be changed here. For other settings use PATCH /api/organizations/NAME."


class OrganizationsQuery(StrictSerializer):
    include_inactive = serializers.BooleanField(default=False)


@extend_schema_serializer(component_name="SimpleTunerNewOrganizationBody")
class NewOrganizationBody(StrictSerializer):
    name = serializers.CharField(max_length=200)
    slug = serializers.CharField(max_length=100)
    description = serializers.CharField(required=False, allow_blank=True, max_length=0)


@extend_schema_serializer(component_name="SimpleTunerOrganizationBody")
class OrganizationBody(StrictSerializer):
    name = serializers.CharField(required=False, max_length=100)
    is_active = serializers.BooleanField(required=False)
    description = serializers.CharField(required=False)
    settings = serializers.JSONField(required=False)


class Organizations(CompatibleView):
    @takes(OrganizationsQuery)
    def get(self, request: Request) -> Response:
        """List the asker's organizations."""
        found = organizations_of(request.user).order_by("name")
        if not self.query["include_inactive"]:
            found = found.filter(closed_at=None)
        return Response({"organizations": [_shown(one) for one in found]})

    @extend_schema(request=NewOrganizationBody)
    @raises(NotHereError)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request) -> Response:
        """Create an organization, called by its slug, as a superuser."""
        by = current_user(request)
        check_runs_site(by)
        body = checked(NewOrganizationBody, request.data)
        with field_errors():
            return Response({"organization": _shown(endings.create_organization(body["slug"], by=by))})


class OneOrganization(CompatibleView):
    def get(self, request: Request, organization_id: int) -> Response:
        """Show an organization."""
        return Response({"organization": _shown(_find(request.user, organization_id))})

    @extend_schema(request=OrganizationBody)
    @raises(Conflict, NotHereError)
    @needs(Scope.ADMINISTER)
    def patch(self, request: Request, organization_id: int) -> Response:
        """Rename, close or reopen an organization, as a superuser."""
        found, by = _find(request.user, organization_id), current_user(request)
        check_runs_site(by)
        body = checked(OrganizationBody, request.data)
        if body.keys() & {"description", "settings"}:
            raise NotHereError(SETTINGS)
        with field_errors(), unit_of_work():
            if "name" in body:
                endings.rename(found, body["name"], by=by)
            if body.get("is_active") is False:
                endings.close(found, by=by)
            elif body.get("is_active"):
                endings.reopen(found, by=by)
        return Response({"organization": _shown(found)})

    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def delete(self, request: Request, organization_id: int) -> Response:
        """Delete a closed organization without jobs, as a superuser."""
        endings.delete_organization(_find(request.user, organization_id), by=current_user(request))
        return Response({"success": True})


class Members(CompatibleView):
    def get(self, request: Request, organization_id: int) -> Response:
        """List the members; their mail addresses are for admins."""
        found = _find(request.user, organization_id)
        is_admin = role_in(request.user, found) == Role.ADMIN
        members = []
        for member in members_of(found):
            person = shown_person(member.user)
            members.append(
                {**person, "email": person["email"] if is_admin else "", "is_admin": member.role == Role.ADMIN}
            )
        return Response({"organization": _shown(found), "members": members})


class OneMember(CompatibleView):
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request, organization_id: int, user_id: int) -> Response:
        """Add a person as a researcher, as a superuser."""
        found, by = _find(request.user, organization_id), current_user(request)
        check_runs_site(by)
        person = User.objects.filter(pk=user_id).first()
        if person is None:
            raise Http404
        add_member(found, person, Role.RESEARCHER, by=by)
        return Response({"success": True})

    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def delete(self, request: Request, organization_id: int, user_id: int) -> Response:
        """Remove a member, as an admin; their jobs go on."""
        found, by = _find(request.user, organization_id), current_user(request)
        check_administers(by, found)
        member = members_of(found).filter(user=user_id).first()
        if member is None:
            raise Http404
        remove_member(found, member.user, by=by)
        return Response({"success": True})


def _find(user: AnyUser, pk: int) -> Organization:
    found = organizations_of(user).filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def _shown(organization: Organization) -> dict[str, Any]:
    return {
        "id": organization.pk,
        "name": organization.name,
        "slug": organization.name,
        "description": None,
        "is_active": not organization.is_closed,
        "created_at": as_utc(organization.created_at),
    }
