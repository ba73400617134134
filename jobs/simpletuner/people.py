"""SimpleTuner's users: who of them is a member here, and invitations for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.urls import reverse

from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.errors import Conflict
from jobs.models import Organization
from jobs.organizations.invitation_mail import mail_invitation
from jobs.organizations.invitations import invitations_of, invite
from jobs.organizations.members import people_in
from jobs.roles import RANK, Role
from jobs.simpletuner.outcome import Fate, Outcome
from jobs.simpletuner.source import Row, Source

KIND = "users"


@dataclass(frozen=True, slots=True)
class Person:
    """A user of SimpleTuner's."""

    id: int
    name: str
    email: str
    is_active: bool
    role: Role
    organization_id: int | None
    #: The member here with the same address, or else with the same name.
    member: User | None

    @property
    def label(self) -> str:
        return self.email or self.name


class People:
    """SimpleTuner's users by their ids, and who stands in for those who are no members here."""

    def __init__(self, source: Source, organization: Organization) -> None:
        members = [one.user for one in people_in(organization).select_related("user").order_by("pk")]
        by_email = {user.email.casefold(): user for user in reversed(members) if user.email}
        by_name = {user.get_username().casefold(): user for user in members}
        levels = _levels(source)
        people = (_person(row, by_email, by_name, levels) for row in source.rows("users"))
        self.by_id = {person.id: person for person in people if person is not None}
        admins = people_in(organization).filter(role=Role.ADMIN, user__is_active=True).select_related("user")
        first = admins.order_by("pk").first()
        #: The organization's first admin; None: it has none.
        self.stand_in = first.user if first else None

    def member(self, user_id: int | None) -> User | None:
        """Return the member that a user of SimpleTuner's is; None: nobody here."""
        person = self.by_id.get(user_id or 0)
        return person.member if person else None

    def name(self, user_id: Any) -> str:
        """Return what SimpleTuner called its user."""
        person = self.by_id.get(user_id if isinstance(user_id, int) else 0)
        return person.name if person else "somebody"


def _person(
    row: Row, by_email: Mapping[str, User], by_name: Mapping[str, User], levels: Mapping[int, Role]
) -> Person | None:
    number, name, email = row.get("id"), str(row.get("username") or ""), str(row.get("email") or "").strip()
    if not isinstance(number, int):
        return None
    organization_id = row.get("org_id")
    return Person(
        id=number,
        name=name[:150],
        email=email,
        is_active=bool(row.get("is_active", 1)),
        role=Role.ADMIN if row.get("is_admin") else levels.get(number, Role.RESEARCHER),
        organization_id=organization_id if isinstance(organization_id, int) else None,
        member=by_email.get(email.casefold()) or by_name.get(name.casefold()),
    )


def _levels(source: Source) -> dict[int, Role]:
    """Return the highest role of each user; SimpleTuner's levels have the names of our roles."""
    roles = {row.get("id"): role for row in source.rows("levels") if (role := role_of(row.get("name")))}
    found = dict[int, Role]()
    for row in source.rows("user_levels"):
        role, user_id = roles.get(row.get("level_id")), row.get("user_id")
        if role and isinstance(user_id, int):
            found[user_id] = max(role, found.get(user_id, role), key=RANK.__getitem__)
    return found


def role_of(level: object) -> Role | None:
    """Return the role of a level's name; None: it has none of ours."""
    name = str(level or "").lower()
    return Role(name) if name in Role.values else None


def invite_people(people: Iterable[Person], organization: Organization, *, apply: bool) -> Outcome:
    """Invite those who are active and no members yet, by mail where there is a mail server; else the link is told."""
    outcome, invited = Outcome(), {one.email.casefold() for one in invitations_of(organization)}
    for person in people:
        reason = _objection(person)
        if person.member is not None:
            outcome.add(KIND, Fate.THERE, "members")
        elif person.email.casefold() in invited and person.email:
            outcome.add(KIND, Fate.THERE, "invited")
        elif reason:
            outcome.add(KIND, Fate.SKIPPED, reason)
        elif not apply or _invite(person, organization, outcome):
            outcome.add(KIND, Fate.NEW, f"to be invited as {person.role}" if not apply else f"invited as {person.role}")
            invited.add(person.email.casefold())
    return outcome


def _objection(person: Person) -> str:
    if not person.is_active:
        return "switched off in SimpleTuner"
    try:
        validate_email(person.email)
    except ValidationError:
        return "without a mail address that could be invited"
    return ""


def _invite(person: Person, organization: Organization, outcome: Outcome) -> bool:
    try:
        invitation, token = invite(organization, person.role, by=OPERATOR, email=person.email)
    except Conflict as error:
        outcome.add(KIND, Fate.SKIPPED, str(error.detail))
        return False
    link = full_link(reverse("invitation", args=[token]))
    if not mail_invitation(invitation, link):
        outcome.notes.append(f"No mail could be sent to {person.email}: give them {link}")
    return True
