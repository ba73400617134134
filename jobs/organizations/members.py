"""The members of an organization: added, given another role, removed. The last admin stays."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from django.db.models import Max, QuerySet
from django.db.models.functions import Greatest
from django.http import Http404

from cloudtrain_site.accounts.second_factor.demand import second_factors_of
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.lifecycle import request_cancel
from jobs.models import Job, Membership, Organization, ServiceAccount
from jobs.organizations.authority import By, actor_of, check_administers, check_runs_site, lock_organization
from jobs.roles import Role
from jobs.signals import membership_ended
from jobs.statuses import ACTIVE


class JobsOfMember(models.TextChoices):
    """What becomes of a leaving member's jobs that did not end yet."""

    #: They wait and run on, and stay in the organization's list under the member's name.
    STAY = "stay", "Let jobs continue"
    CANCEL = "cancel", "Cancel jobs"


def people_in(organization: Organization) -> QuerySet[Membership]:
    """Return the memberships of people: those of service accounts are no members of a team."""
    return organization.memberships.filter(user__service_account=None)


def members_of(organization: Organization) -> QuerySet[Membership]:
    """Return the memberships by user name, each with `last_seen`: the last sign-in or use of a key; None: never.

    `has_second_factor` tells of one that was set up here; what an identity provider asks for is not known here.
    """
    # A null among the arguments makes SQLite's result null, so each stands in for the other.
    signed_in, key_used = models.F("user__last_login"), Max("user__auth_token_set__last_used_at")
    return (
        people_in(organization)
        .select_related("user")
        .annotate(last_seen=models.functions.Coalesce(Greatest(signed_in, key_used), signed_in, key_used))
        .annotate(has_second_factor=models.Exists(second_factors_of(models.OuterRef("user"))))
        .order_by("user__username")
    )


def find_member(organization: Organization, username: str) -> Membership:
    """Return the membership. Raises Http404 for somebody who isn't a member, whether or not there is such a user."""
    members = people_in(organization).select_related("user", "organization")
    member = None if "\x00" in username else members.filter(user__username=username).first()
    if member is None:
        raise Http404
    return member


def add_member(organization: Organization, user: User, role: Role, *, by: By) -> Membership:
    """Make `user` a member: for superusers and commands, since admins invite. Raises Conflict for a member."""
    with unit_of_work():
        organization = lock_organization(organization)
        check_runs_site(by)
        return join(organization, user, role, by=by)


def join(organization: Organization, user: User, role: Role, *, by: By) -> Membership:
    """Store the membership. To be called under the organization's lock, by who has checked the right to it."""
    if organization.is_closed:
        raise Conflict(f"{organization} is closed and accepts no new members.")
    if ServiceAccount.objects.filter(user=user).exists():
        raise Conflict(f"{user} is a service account: it stays in its organization.")
    if Membership.objects.filter(organization=organization, user=user).exists():
        raise Conflict(f"{user} is a member of {organization} already.", code="already_member")
    membership = Membership.objects.create(organization=organization, user=user, role=role)
    record("member_added", user, by=actor_of(by), organization=organization, after={"role": role})
    return membership


def change_role(organization: Organization, user: User, role: Role, *, by: By) -> bool:
    """Give a member another role. False: it is theirs already.

    Raises PermissionDenied, Http404 for somebody who isn't a member, and Conflict for the last admin.
    """
    with unit_of_work():
        organization = lock_organization(organization)
        check_administers(by, organization)
        membership = _lock_membership(organization, user)
        former = membership.role
        if former == role:
            return False
        if role != Role.ADMIN:
            _check_not_last_admin(membership)
        membership.role = role
        membership.save(update_fields=["role"])
        record(
            "role_changed",
            user,
            by=actor_of(by),
            organization=organization,
            before={"role": former},
            after={"role": role},
        )
    return True


def remove_member(organization: Organization, user: User, *, by: By, jobs: JobsOfMember = JobsOfMember.STAY) -> int:
    """End a membership: the member's keys for the organization and event streams end with it.

    `jobs` says what becomes of their jobs there that did not end yet; decisions that they made stay. Returns how many
    jobs were cancelled. Raises PermissionDenied, Http404 for somebody who isn't a member, and Conflict for the last
    admin.
    """
    with unit_of_work():
        organization = lock_organization(organization)
        check_administers(by, organization)
        return _end(_lock_membership(organization, user), by=by, jobs=jobs, action="member_removed")


def leave(organization: Organization, user: User, *, jobs: JobsOfMember = JobsOfMember.STAY) -> int:
    """End one's own membership, as `remove_member` does. Raises Http404, and Conflict for the last admin."""
    with unit_of_work():
        organization = lock_organization(organization)
        return _end(_lock_membership(organization, user), by=user, jobs=jobs, action="member_left")


def _lock_membership(organization: Organization, user: User) -> Membership:
    """Return the membership; a submission of the member's that is being stored comes first."""
    memberships = Membership.objects.select_for_update(of=("self",)).select_related("user")
    membership = memberships.filter(organization=organization, user=user, user__service_account=None).first()
    if membership is None:
        raise Http404
    membership.organization = organization
    return membership


def _check_not_last_admin(membership: Membership) -> None:
    """Raise Conflict when no other active admin would be left. Counted under the organization's lock."""
    if membership.role != Role.ADMIN or not membership.user.is_active:
        return
    organization = membership.organization
    admins = people_in(organization).filter(role=Role.ADMIN, user__is_active=True)
    if not admins.exclude(pk=membership.pk).exists():
        raise Conflict(
            f"{membership.user} is the last admin of {organization}. Make somebody else an admin first.",
            code="last_admin",
        )


def _end(membership: Membership, *, by: By, jobs: JobsOfMember, action: str) -> int:
    _check_not_last_admin(membership)
    user, organization, actor = membership.user, membership.organization, actor_of(by)
    membership.delete()
    membership_ended.send(Membership, user=user, organization=organization)
    cancelled = 0
    if jobs == JobsOfMember.CANCEL:
        cancelled = cancel_jobs(Job.objects.filter(organization=organization, submitted_by=user), by, f"{user} left")
    after = {"jobs": jobs, "cancelled": cancelled}
    record(action, user, by=actor, organization=organization, before={"role": membership.role}, after=after)
    return cancelled


def cancel_jobs(jobs: QuerySet[Job], by: By, reason: str) -> int:
    """Cancel those of `jobs` that did not end yet. Returns how many."""
    actor, source = actor_of(by), current_source()
    active = jobs.filter(status__in=ACTIVE).order_by("pk")
    return sum(request_cancel(job, actor=actor, source=source, reason=reason) for job in active)
