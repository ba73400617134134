"""An organization's members, invitations and audit record over HTTP."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered, takes
from cloudtrain_site.audit.queries import AuditFilter, page_of
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.errors import field_errors
from jobs.api.organization_serializers import (
    AuditListSerializer,
    AuditQuery,
    InvitationBody,
    InvitationListSerializer,
    LeavingQuery,
    LeftSerializer,
    MemberDetailSerializer,
    MemberListSerializer,
    NewInvitationSerializer,
    NewMemberBody,
    RoleBody,
    WithdrawnSerializer,
)
from jobs.api.organization_views import find_administered, find_organization
from jobs.models import Organization
from jobs.organizations import invitations
from jobs.organizations.authority import check_runs_site
from jobs.organizations.invitation_mail import mail_invitation
from jobs.organizations.members import (
    JobsOfMember,
    add_member,
    change_role,
    find_member,
    members_of,
    remove_member,
)
from jobs.permissions import role_in
from jobs.roles import Role


class MemberViewSet(StrictViewSet):
    """The members of an organization."""

    @extend_schema(operation_id="members_list", responses=MemberListSerializer)
    def list(self, request: Request, organization: str) -> Response:
        """List the members."""
        found = find_organization(request.user, organization)
        context = {"administers": role_in(request.user, found) == Role.ADMIN}
        return Response(MemberListSerializer({"members": members_of(found)}, context=context).data)

    @extend_schema(request=NewMemberBody, responses={201: MemberDetailSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request, organization: str) -> Response:
        """Add a member, as a superuser. Admins invite."""
        found, by = find_organization(request.user, organization), current_user(request)
        check_runs_site(by)
        body = checked(NewMemberBody, request.data)
        user = User.objects.filter(username=body["user"]).first()
        if user is None:
            raise Http404
        add_member(found, user, Role(body["role"]), by=by)
        return _member(found, user, status=201)

    @extend_schema(request=RoleBody, responses=MemberDetailSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def partial_update(self, request: Request, organization: str, user: str) -> Response:
        """Give a member another role. The last admin stays one."""
        found = find_administered(request, organization)
        member = find_member(found, user).user
        change_role(found, member, Role(checked(RoleBody, request.data)["role"]), by=current_user(request))
        return _member(found, member)

    @extend_schema(responses={200: LeftSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    @takes(LeavingQuery)
    def destroy(self, request: Request, organization: str, user: str) -> Response:
        """Remove a member. The last admin stays."""
        found = find_administered(request, organization)
        member = find_member(found, user).user
        jobs = JobsOfMember(self.query["jobs"])
        cancelled = remove_member(found, member, by=current_user(request), jobs=jobs)
        return rendered(LeftSerializer, {"user": member.username, "cancelled": cancelled})


class InvitationViewSet(StrictViewSet):
    """The open invitations into an organization, for its admins."""

    @extend_schema(operation_id="invitations_list", responses=InvitationListSerializer)
    @needs(Scope.ADMINISTER)
    def list(self, request: Request, organization: str) -> Response:
        """List the open invitations."""
        found = find_administered(request, organization)
        return rendered(InvitationListSerializer, {"invitations": invitations.invitations_of(found)})

    @extend_schema(request=InvitationBody, responses={201: NewInvitationSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request, organization: str) -> Response:
        """Invite somebody, by mail or by a link.

        With a mail address, the link is sent there, and only that address can accept it.
        """
        found = find_administered(request, organization)
        body = checked(InvitationBody, request.data)
        with field_errors():
            invitation, token = invitations.invite(
                found,
                Role(body["role"]),
                by=current_user(request),
                email=body["email"],
                days=body["expires_in_days"],
            )
        link = request.build_absolute_uri(reverse("invitation", args=[token]))
        answer = {"invitation": invitation, "link": link, "mailed": mail_invitation(invitation, link)}
        return rendered(NewInvitationSerializer, answer, status=201)

    @extend_schema(responses={200: WithdrawnSerializer})
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, organization: str, invitation_id: int) -> Response:
        """Withdraw an invitation."""
        found = find_administered(request, organization)
        return rendered(WithdrawnSerializer, invitations.withdraw(found, invitation_id, by=current_user(request)))


class AuditViewSet(StrictViewSet):
    """The changes of an organization's rights, rules, limits and settings, for its admins."""

    @extend_schema(operation_id="organization_audit", responses=AuditListSerializer)
    @needs(Scope.ADMINISTER)
    @takes(AuditQuery)
    def list(self, request: Request, organization: str) -> Response:
        """List who changed what, when and from where."""
        found = find_administered(request, organization)
        query: dict[str, Any] = dict(self.query)
        cursor, limit = query.pop("cursor", None), query.pop("limit")
        page = page_of(AuditFilter(organization_id=found.pk, **query).apply(), cursor=cursor, limit=limit)
        return rendered(AuditListSerializer, page)


def _member(organization: Organization, user: User, status: int = 200) -> Response:
    member = members_of(organization).get(user=user)
    serializer = MemberDetailSerializer({"member": member}, context={"administers": True})
    return Response(serializer.data, status=status)
