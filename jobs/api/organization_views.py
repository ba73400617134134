"""Organizations over HTTP: what their admins change, and what superusers do with them."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.errors import field_errors
from jobs.api.organization_serializers import (
    CloseBody,
    ClosedSerializer,
    DeletionSerializer,
    LeavingQuery,
    LeftSerializer,
    NewOrganizationBody,
    OrganizationBody,
    OrganizationDetailSerializer,
    OrganizationListSerializer,
)
from jobs.extensions import organization_limits
from jobs.models import Organization
from jobs.organizations import endings
from jobs.organizations.authority import check_administers, check_runs_site
from jobs.organizations.endings import RunningJobs
from jobs.organizations.members import JobsOfMember, leave
from jobs.organizations.settings import SETTINGS, change_organization
from jobs.permissions import AnyUser, organizations_of, role_in, teams_of


def find_organization(user: AnyUser, name: str) -> Organization:
    """Return the organization of that name. Raises Http404 for one that `user` doesn't belong to."""
    found = None if "\x00" in name else organizations_of(user).filter(name=name).first()
    if found is None:
        raise Http404
    return found


def find_administered(request: Request, name: str) -> Organization:
    """Return the organization. Raises Http404 for a stranger, and PermissionDenied for a member who is no admin."""
    organization = find_organization(request.user, name)
    check_administers(current_user(request), organization)
    return organization


class OrganizationViewSet(StrictViewSet):
    """The organizations that the asker belongs to."""

    lookup_url_kwarg = "organization"

    @extend_schema(operation_id="organizations_list", responses=OrganizationListSerializer)
    def list(self, request: Request) -> Response:
        """List your organizations."""
        roles = {team.id: team.role for team in teams_of(request.user)}
        organizations = list(organizations_of(request.user).order_by("name"))
        for organization in organizations:
            organization.role = roles[organization.pk]  # type: ignore[attr-defined]
        return rendered(OrganizationListSerializer, {"organizations": organizations})

    @extend_schema(request=NewOrganizationBody, responses={201: OrganizationDetailSerializer})
    @needs(Scope.ADMINISTER)
    def create(self, request: Request) -> Response:
        """Create an organization, as a superuser."""
        check_runs_site(current_user(request))
        body = checked(NewOrganizationBody, request.data)
        with field_errors():
            organization = endings.create_organization(body["name"], by=current_user(request))
        return _shown(request, organization, status=201)

    @extend_schema(responses=OrganizationDetailSerializer)
    def retrieve(self, request: Request, organization: str) -> Response:
        """Show an organization and its settings."""
        return _shown(request, find_organization(request.user, organization))

    @extend_schema(request=OrganizationBody, responses=OrganizationDetailSerializer)
    @needs(Scope.ADMINISTER)
    def partial_update(self, request: Request, organization: str) -> Response:
        """Change an organization's settings, as its admin."""
        found = find_administered(request, organization)
        body = checked(OrganizationBody, request.data)
        with field_errors(), unit_of_work():
            _change(found, body, current_user(request))
        return _shown(request, found)

    @extend_schema(responses=DeletionSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, organization: str) -> Response:
        """Delete a closed organization without jobs.

        For superusers.
        """
        found = find_organization(request.user, organization)
        return rendered(DeletionSerializer, endings.delete_organization(found, by=current_user(request)))

    @extend_schema(responses=DeletionSerializer)
    @action(detail=True)
    def deletion(self, request: Request, organization: str) -> Response:
        """Show what a deletion would remove.

        For superusers.
        """
        found = find_organization(request.user, organization)
        check_runs_site(current_user(request))
        return rendered(DeletionSerializer, endings.what_deletion_takes(found))

    @extend_schema(request=CloseBody, responses=ClosedSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    @action(methods=["post"], detail=True)
    def close(self, request: Request, organization: str) -> Response:
        """Close an organization, as a superuser.

        Its members still see its jobs but can't submit. Its waiting jobs are cancelled.
        """
        found, by = find_organization(request.user, organization), current_user(request)
        check_runs_site(by)
        running = RunningJobs(checked(CloseBody, request.data or {})["running"])
        cancelled = endings.close(found, by=by, running=running)
        return rendered(ClosedSerializer, {**_detail(request, found), "cancelled": cancelled})

    @extend_schema(request=None, responses=OrganizationDetailSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    @action(methods=["post"], detail=True)
    def reopen(self, request: Request, organization: str) -> Response:
        """Open a closed organization again, as a superuser."""
        found = find_organization(request.user, organization)
        endings.reopen(found, by=current_user(request))
        return _shown(request, found)

    @extend_schema(request=LeavingQuery, responses=LeftSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    @action(methods=["post"], detail=True)
    def leave(self, request: Request, organization: str) -> Response:
        """Leave an organization. Its last admin stays."""
        found, user = find_organization(request.user, organization), current_user(request)
        jobs = JobsOfMember(checked(LeavingQuery, request.data or {})["jobs"])
        return rendered(LeftSerializer, {"user": user.username, "cancelled": leave(found, user, jobs=jobs)})


def _change(organization: Organization, body: dict[str, Any], by: Any) -> None:
    """Store what `body` has: all of it, or nothing."""
    if "name" in body:
        endings.rename(organization, body["name"], by=by)
    change_organization(organization, {name: body[name] for name in SETTINGS if name in body}, by=by)
    for name, change in organization_limits.items():
        if name in body:
            change(organization, body[name], by)


def _detail(request: Request, organization: Organization) -> dict[str, Any]:
    organization.role = role_in(request.user, organization)  # type: ignore[attr-defined]
    return {"organization": organization}


def _shown(request: Request, organization: Organization, status: int = 200) -> Response:
    return rendered(OrganizationDetailSerializer, _detail(request, organization), status=status)
