"""The rights of users on jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied, ValidationError

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.api import remembered
from cloudtrain_site.database.prepared import Prepared
from jobs.limits import check_number_of_jobs, open_jobs
from jobs.models import Job, JobQuerySet, Membership, Organization
from jobs.roles import MANAGERS, SUBMITTERS, Role

AnyUser: TypeAlias = User | AnonymousUser

# Of each submission; the last one of each request with a key.
_FIRST_SUBMITTING = Prepared(
    lambda user, bound: (
        _memberships(user, bound)
        .filter(role__in=SUBMITTERS, organization__closed_at=None)
        .annotate(is_one_of_several=Exists(_memberships(user, bound).exclude(pk=OuterRef("pk"))))
        .select_related("organization")
        .order_by("id")[:1]
    )
)
_LOCKED_MEMBERSHIP = Prepared(
    lambda user, organization: (
        Membership.objects.filter(user_id=user, organization=organization)
        .select_related("user")
        .select_for_update(of=("self", "user"), no_key=True)
    )
)
_OPEN_ORGANIZATION = Prepared(
    lambda organization, user: Organization.objects.filter(pk=organization, closed_at=None).values_list(open_jobs(user))
)
# Each page asks for one of these.
_ORGANIZATIONS = Prepared(lambda: Organization.objects.values_list("pk", "name", "closed_at"))
_TEAMS = Prepared(
    lambda user, bound: (
        _memberships(user, bound)
        .order_by("organization__name")
        .values_list("role", "organization_id", "organization__name", "organization__closed_at")
    )
)
# Of each stream.
_ORGANIZATION_IDS = Prepared(lambda user, bound: _memberships(user, bound).values_list("organization_id", flat=True))
_DEMANDING = Prepared(
    lambda user: (
        Membership.objects.filter(user=user, organization__second_factor_required=True)
        .order_by("organization__name")
        .values_list("organization__name", flat=True)
    )
)


def is_superuser(user: AnyUser) -> bool:
    """Whether `user` may do everything, everywhere. With a key for one organization nobody may."""
    return user.is_active and user.is_superuser and organization_of_key(user) is None


def memberships_of(user: AnyUser) -> QuerySet[Membership]:
    """Return the memberships by which `user` acts: of those, a key for one organization has that one alone."""
    return _memberships(user.pk or 0, organization_of_key(user))


def _memberships(user_id: int, bound: int | None) -> QuerySet[Membership]:
    memberships = Membership.objects.filter(user_id=user_id)
    return memberships if bound is None else memberships.filter(organization=bound)


def _admin_by_key(user: AnyUser) -> int | None:
    """Return the organization of a superuser's key for one: there it may what an admin may."""
    return organization_of_key(user) if user.is_active and user.is_superuser else None


def visible_jobs(user: AnyUser) -> JobQuerySet:
    """Return the jobs of the user's organizations; all jobs for a superuser."""
    jobs = Job.objects.kept()
    if is_superuser(user):
        return jobs
    return jobs.filter(organization__in=organizations_of(user))


@dataclass(frozen=True, slots=True)
class Team:
    id: int
    name: str
    role: str
    is_closed: bool = False

    @property
    def takes_jobs(self) -> bool:
        """Whether whoever has this role there submits for it now."""
        return self.role in SUBMITTERS and not self.is_closed


def teams_of(user: AnyUser) -> list[Team]:
    """Return the organizations of `user` by name, in one query; a superuser is an admin of them all."""
    if is_superuser(user):
        return [_team(Role.ADMIN, *row) for row in _ORGANIZATIONS()]
    if bound := _admin_by_key(user):
        organization = Organization.objects.get(pk=bound)
        return [Team(bound, organization.name, Role.ADMIN, organization.is_closed)]
    return [_team(*row) for row in _TEAMS(user.pk or 0, organization_of_key(user))]


def own_teams(request: HttpRequest) -> list[Team]:
    """Return the `teams_of` the request's user, read once a request."""
    return remembered(request, f"teams of {request.user.pk}", lambda: teams_of(request.user))


def _team(role: str, pk: int, name: str, closed_at: datetime | None) -> Team:
    return Team(pk, name, role, closed_at is not None)


def listed_jobs_of(user: AnyUser, teams: Sequence[Team] | None = None) -> JobQuerySet:
    """Return the jobs of `visible_jobs`, for lists: the organizations are queried first, unless `teams` has them.

    With them the database walks an index in the list's order, where it would read every job otherwise.
    """
    jobs = Job.objects.kept()
    if is_superuser(user):
        return jobs
    return jobs.filter(organization__in=[team.id for team in (teams_of(user) if teams is None else teams)])


def organizations_of(user: AnyUser, roles: tuple[Role, ...] | None = None) -> QuerySet[Organization]:
    """Return the organizations in which `user` has one of `roles` (None: any)."""
    if is_superuser(user):
        return Organization.objects.all()
    if bound := _admin_by_key(user):
        return Organization.objects.filter(pk=bound)
    memberships = memberships_of(user)
    if roles is not None:
        memberships = memberships.filter(role__in=roles)
    return Organization.objects.filter(pk__in=memberships.values("organization"))


def organization_ids_of(user: AnyUser) -> list[int]:
    """Return the ids of `organizations_of`, for somebody who is no superuser."""
    if bound := _admin_by_key(user):
        return [bound]
    return _ORGANIZATION_IDS(user.pk or 0, organization_of_key(user))


def role_in(user: AnyUser, organization: Organization | int | None) -> Role | None:
    """Return the user's role in `organization`; a superuser is an admin everywhere. None: no member."""
    if is_superuser(user):
        return Role.ADMIN
    bound = _admin_by_key(user)
    if bound and bound == getattr(organization, "pk", organization):
        return Role.ADMIN
    membership = memberships_of(user).filter(organization=organization).first()
    return Role(membership.role) if membership else None


def lock_submitter(user: User, organization: Organization) -> Role:
    """Return the role in which `user` submits for `organization`; it stands until this transaction ends.

    Until then no other transaction counts this person's things either (`limits.lock_person`). Raises PermissionDenied
    when the right has ended since it was checked, and LimitReachedError when `user` may have no further open job. On
    SQLite a transaction is the only writer anyway.
    """
    if user.is_superuser:
        current = User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
        role = Role.ADMIN if current is not None and is_superuser(current) else None
        # Who closes the organization waits for this lock, as for that of a member's membership.
        list(Organization.objects.select_for_update(no_key=True).filter(pk=organization.pk).values_list("pk"))
    else:
        membership = _LOCKED_MEMBERSHIP.first(user.pk, organization.pk)
        role = Role(membership.role) if membership is not None and membership.user.is_active else None
    if role not in SUBMITTERS:
        raise PermissionDenied(f"You can no longer submit jobs for {organization}.")
    # In a query of its own, after the lock: the rows joined above may be older.
    if not (found := _OPEN_ORGANIZATION(organization.pk, user.pk)):
        raise PermissionDenied(closed_sentence(organization))
    check_number_of_jobs(user, found[0][0])
    return role


def closed_sentence(organization: Organization | str) -> str:
    return f"{organization} is closed and accepts no jobs. A superuser can reopen it."


def all_closed(teams: Sequence[Team]) -> str:
    """Return a sentence for somebody who submits for closed organizations alone; empty: that is not why."""
    closed = [team.name for team in teams if team.role in SUBMITTERS]
    if not closed or any(team.takes_jobs for team in teams):
        return ""
    return closed_sentence(closed[0]) if len(closed) == 1 else "All your organizations are closed."


def no_right_to_submit(user: AnyUser) -> str:
    """Return why somebody who may submit nowhere may not."""
    nowhere = "You can't submit jobs for any organization. Ask an admin to invite you, or to make you a researcher."
    return all_closed(teams_of(user)) or nowhere


def can_submit(user: AnyUser, organization: Organization) -> bool:
    return role_in(user, organization) in SUBMITTERS


def can_manage(user: AnyUser, organization: Organization | int | None) -> bool:
    """Whether `user` may decide and reorder in `organization`."""
    return role_in(user, organization) in MANAGERS


def can_change(user: AnyUser, job: Job) -> bool:
    """Whether `user` may cancel, retry or delete `job`: submitters their own, leads and admins everybody's."""
    role = role_in(user, job.organization_id)
    return role in MANAGERS or (role in SUBMITTERS and job.submitted_by_id == user.pk)


def manages_anything(user: AnyUser) -> bool:
    return organizations_of(user, MANAGERS).exists() if user.is_authenticated else False


def choose_organization(user: AnyUser, name: str = "") -> Organization:
    """Return the organization called `name`; without a name, the one that `user` joined first as a submitter.

    Raises ValidationError for one that the user doesn't belong to (or that doesn't exist: the error is the same), and
    PermissionDenied for a user who may submit nowhere.
    """
    if not name:
        return default_organization(user)[0]
    organization = organizations_of(user).filter(name=name).first()
    if organization is None:
        raise ValidationError({"organization": f"You aren't a member of an organization called “{name}”."})
    if not can_submit(user, organization):
        raise PermissionDenied(f"You are a viewer in {name}: viewers can't submit jobs.")
    if organization.is_closed:
        raise PermissionDenied(closed_sentence(organization))
    return organization


def default_organization(user: AnyUser) -> tuple[Organization, bool]:
    """Return the organization that `user` joined first as a submitter, and whether `user` belongs to others too.

    Raises PermissionDenied for a user who may submit nowhere.
    """
    membership: Any = _FIRST_SUBMITTING.first(user.pk or 0, organization_of_key(user))
    if membership is not None:
        return membership.organization, membership.is_one_of_several
    fallback = organizations_of(user, ()).filter(closed_at=None).order_by("id").first()  # a superuser has them all
    if fallback is None:
        raise PermissionDenied(no_right_to_submit(user))
    return fallback, memberships_of(user).count() > 1


def demanding_organizations(user: User) -> list[str]:
    """Return the names of the user's organizations that demand a second factor of their members."""
    return _DEMANDING(user.pk)
