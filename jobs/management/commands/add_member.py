"""`manage.py add_member USER ORGANIZATION ROLE`: put a user into an organization."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Model

from cloudtrain_site.audit.recording import OPERATOR, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import Membership, Organization
from jobs.organizations.endings import create_organization
from jobs.organizations.members import add_member, change_role
from jobs.roles import Role

USER_NAMES = "a user's name has 1 to 150 letters, digits and any of @ . + - _"
ORGANIZATION_NAMES = "an organization's name has 1 to 100 letters from a to z, digits, hyphens and underscores"


class Command(BaseCommand):
    """Give a user a role in an organization, or another one."""

    help = "Add USER to ORGANIZATION as ROLE, or change the role of a member."

    def add_arguments(self, parser: CommandParser) -> None:
        """USER, ORGANIZATION, ROLE, --create, --email and --password."""
        parser.add_argument("user", metavar="USER")
        parser.add_argument("organization", metavar="ORGANIZATION")
        parser.add_argument("role", metavar="ROLE", choices=Role.values, help=", ".join(Role.values))
        parser.add_argument("--create", action="store_true", help="create what doesn't exist yet")
        parser.add_argument("--email", default="", help="the new user's mail address")
        parser.add_argument("--password", help="the new user's password (default: asked for twice)")

    def handle(self, *args: Any, user: str, organization: str, role: str, **options: Any) -> None:
        """Write the membership. Raises CommandError for what is missing without --create."""
        create = options["create"]
        _check_new_names(user, organization)
        member = User.objects.filter(username=user).first()
        if member is None:
            member = _new_user(user, options["email"], options["password"], create=create)
        elif options["email"]:
            raise CommandError(f"{user} exists: --email is for a new user. Change it in the admin.")
        # The password was asked for before: SQLite's one writer waits for nobody who types.
        with unit_of_work():
            if member.pk is None:
                member.save(force_insert=True)
                record("user_made", member, by=OPERATOR, after={"email": member.email})
            team = Organization.objects.filter(name=organization).first() or _make_team(organization, create=create)
            is_new = _give_role(team, member, Role(role))
        self.stdout.write(f"{user} is {'now' if is_new else 'from now on'} {role} of {organization}")


def _give_role(team: Organization, member: User, role: Role) -> bool:
    """Add the member, or give them another role. True: they are new. Raises CommandError for what a verb refuses."""
    try:
        if not Membership.objects.filter(user=member, organization=team).exists():
            add_member(team, member, role, by=OPERATOR)
            return True
        change_role(team, member, role, by=OPERATOR)
    except Conflict as problem:
        raise CommandError(str(problem.detail)) from None
    return False


def _new_user(name: str, email: str, password: str | None, *, create: bool) -> User:
    """Return the user, not stored yet. Raises CommandError without --create, for a bad address or password."""
    if not create:
        raise CommandError(f"There is no user {name!r}. Add --create to make one.")
    user = User(username=name, email=User.objects.normalize_email(email))
    try:
        User._meta.get_field("email").clean(user.email, user)
        password = _typed_password(name) if password is None else password
        # A validator need not look at the length, and Django's accept an empty list of them.
        if not password:
            raise CommandError("An empty password would lock the user out.")
        validate_password(password, user)
    except ValidationError as error:
        raise CommandError(f"{' '.join(error.messages)} Nobody was added.") from None
    user.set_password(password)
    return user


def _make_team(name: str, *, create: bool) -> Organization:
    if not create:
        raise CommandError(f"There is no organization {name!r}. Add --create to make one.")
    return create_organization(name, by=OPERATOR)


def _typed_password(name: str) -> str:
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask for a password. Use --password.")
    password = getpass.getpass(f"Password for {name}: ")
    if getpass.getpass("Repeat the password: ") != password:
        raise CommandError("The two passwords differ. Nobody was added.")
    return password


def _check_new_names(user: str, organization: str) -> None:
    """Raises CommandError for a name that nobody has and nobody can have."""
    if not User.objects.filter(username=user).exists():
        _check_name(User(username=user), "username", user, USER_NAMES)
    if not Organization.objects.filter(name=organization).exists():
        _check_name(Organization(name=organization), "name", organization, ORGANIZATION_NAMES)


def _check_name(row: Model, field: str, name: str, allowed: str) -> None:
    try:
        row.clean_fields(exclude={other.name for other in row._meta.fields} - {field})
    except ValidationError:
        # As Python writes it: a character that can't be seen is seen there.
        raise CommandError(f"{name!a} can't be used: {allowed}.") from None
