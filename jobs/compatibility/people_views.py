"""People and roles by the names of SimpleTuner's command line: `auth users` and `auth status`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import MAX_OFFSET, StrictSerializer, as_utc, checked, current_user, raises, takes
from cloudtrain_site.compatibility.elsewhere import CompatibleView, NotHereError
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from jobs.models import Membership, Organization
from jobs.organizations.authority import check_runs_site
from jobs.organizations.members import change_role
from jobs.organizations.people import deactivate_user, reactivate_user, set_rights
from jobs.permissions import AnyUser, is_superuser, organizations_of
from jobs.roles import RANK, Role

INVITE = (
    "Invite people with POST /api/organizations/NAME/invitations, or add them with "
    f"`{COMMAND} add_member USER ORGANIZATION ROLE --create`, where the site runs."
)
OWN_ACCOUNT = "People change their own name, mail address and password at /account."
REMOVAL = f"Remove people at /site/people, or with `{COMMAND} remove_person`, which first lists what it removes."
ROLES = "The roles are viewer, researcher, lead and admin, as docs/organizations.md says: there are no others."
RIGHTS = (
    "Rights follow from a member's role, as docs/organizations.md says. GET /api/users/meta/levels lists the roles."
)
CREDENTIALS = (
    "The operator sets the credentials of providers: REPLICATE_API_TOKEN, or the configuration file. People create "
    "and revoke their keys for this site at /account."
)
#: What to do instead, by a word of the address.
OTHER_WAYS = {"permissions": RIGHTS, "rules": RIGHTS, "credentials": CREDENTIALS, "levels": ROLES}


class PeopleQuery(StrictSerializer):
    include_inactive = serializers.BooleanField(default=False)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)
    offset = serializers.IntegerField(min_value=0, max_value=MAX_OFFSET, default=0)


class PersonBody(StrictSerializer):
    is_active = serializers.BooleanField(required=False)
    is_admin = serializers.BooleanField(required=False)
    email = serializers.CharField(required=False)
    username = serializers.CharField(required=False)
    display_name = serializers.CharField(required=False)
    password = serializers.CharField(required=False)


class LevelBody(StrictSerializer):
    level_name = serializers.CharField(max_length=20)


class People(CompatibleView):
    @needs(Scope.ADMINISTER)
    @takes(PeopleQuery)
    def get(self, request: Request) -> Response:
        """List the people of one's organizations; for superusers all."""
        query = self.query
        people = _people(request.user).order_by("pk")
        if not query["include_inactive"]:
            people = people.filter(is_active=True)
        page = people[query["offset"] : query["offset"] + query["limit"]]
        return Response({"users": [shown(person) for person in page]})

    @extend_schema(exclude=True)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request) -> Response:
        """Raises NotHereError."""
        raise NotHereError(INVITE)


class Me(CompatibleView):
    def get(self, request: Request) -> Response:
        """Show the asker."""
        return Response(detailed(current_user(request), request.user))


class Person(CompatibleView):
    @needs(Scope.ADMINISTER)
    def get(self, request: Request, user_id: int) -> Response:
        """Show a person."""
        return Response(detailed(find_person(request.user, user_id), request.user))

    @extend_schema(request=PersonBody)
    @raises(Conflict, NotHereError)
    @needs(Scope.ADMINISTER)
    def patch(self, request: Request, user_id: int) -> Response:
        """Change whether a person is active, or a superuser."""
        person, by = find_person(request.user, user_id), current_user(request)
        check_runs_site(by)
        body = checked(PersonBody, request.data)
        if body.keys() - {"is_active", "is_admin"}:
            raise NotHereError(OWN_ACCOUNT)
        rights = {"is_active": body.get("is_active"), "is_superuser": body.get("is_admin")}
        set_rights(person, {name: value for name, value in rights.items() if value is not None}, by=by)
        return Response(detailed(person, request.user))

    @extend_schema(exclude=True)
    @needs(Scope.ADMINISTER)
    def delete(self, request: Request, user_id: int) -> Response:
        """Raises NotHereError."""
        raise NotHereError(REMOVAL)


class PersonActive(CompatibleView):
    #: Whether the person is active afterwards.
    active = True

    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request, user_id: int) -> Response:
        """Deactivate or reactivate a person, as a superuser."""
        person, by = find_person(request.user, user_id), current_user(request)
        (reactivate_user if self.active else deactivate_user)(person, by=by)
        return Response({"success": True})


class PersonLevels(CompatibleView):
    @extend_schema(request=LevelBody)
    @raises(Conflict, NotHereError)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request, user_id: int) -> Response:
        """Give a member another role.

        It is in the one organization that the asker administers.
        """
        person, name = find_person(request.user, user_id), checked(LevelBody, request.data)["level_name"].lower()
        if name not in Role.values:
            raise NotHereError(ROLES)
        change_role(_shared_organization(request.user, person), person, Role(name), by=current_user(request))
        return Response({"success": True})


class Levels(CompatibleView):
    def get(self, request: Request) -> Response:
        """List the roles."""
        return Response({"levels": [_level(role) for role in Role]})


class AuthStatus(CompatibleView):
    def get(self, request: Request) -> Response:
        """Say that everybody signs in, and how many accounts one sees."""
        providers = config_in_force().sign_in.sso is not None
        users = _people(request.user).filter(is_active=True).count()
        return Response({"in_use": True, "user_count": users, "has_external_providers": providers})


def _people(user: AnyUser) -> QuerySet[User]:
    """Return the people whom the user may see with their mail addresses, and the user."""
    people = User.objects.filter(service_account=None)
    if is_superuser(user):
        return people
    members = Membership.objects.filter(organization__in=organizations_of(user, (Role.ADMIN,))).values("user")
    return people.filter(pk__in=members) | people.filter(pk=user.pk or 0)


def find_person(user: AnyUser, pk: int) -> User:
    """Return a person whom the user may see. Raises Http404."""
    person = _people(user).filter(pk=pk).first()
    if person is None:
        raise Http404
    return person


def _shared_organization(user: AnyUser, person: User) -> Organization:
    administered = organizations_of(user, (Role.ADMIN,)).filter(memberships__user=person)
    found = list(administered[:2])
    if len(found) != 1:
        raise NotHereError("A role belongs to an organization: set it with PATCH /api/organizations/NAME/members/USER.")
    return found[0]


def shown(person: User) -> dict[str, Any]:
    """Return a person as SimpleTuner's lists have them."""
    return {
        "id": person.pk,
        "username": person.username,
        "email": person.email,
        "display_name": person.get_full_name() or None,
        "is_admin": person.is_superuser,
        "is_active": person.is_active,
    }


def detailed(person: User, viewer: AnyUser) -> dict[str, Any]:
    """Return a person with their roles in the organizations that the viewer belongs to."""
    roles = Membership.objects.filter(user=person, organization__in=organizations_of(viewer)).values_list(
        "role", flat=True
    )
    return {
        **shown(person),
        "email_verified": False,
        "auth_provider": "local",
        "created_at": as_utc(person.date_joined),
        "last_login_at": as_utc(person.last_login),
        "levels": [_level(Role(role)) for role in sorted(set(roles), key=RANK.__getitem__)],
        "permissions": [],
    }


def _level(role: str) -> dict[str, Any]:
    rank = RANK[role]
    return {"id": rank + 1, "name": str(role), "priority": rank, "is_system": True, "permissions": []}
