"""Who may change an organization; the locks under which that is decided."""

from __future__ import annotations

from typing import TypeAlias

from django.contrib.auth.models import User
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.states import Actor
from jobs.models import Membership, Organization
from jobs.permissions import is_superuser
from jobs.roles import Role

#: A person, whose rights are checked; or the operator's command, which has all.
By: TypeAlias = User | Actor


def actor_of(by: By) -> Actor:
    return by if isinstance(by, Actor) else Actor.of(by)


def lock_organization(organization: Organization) -> Organization:
    """Return the organization as it is now; until this transaction ends nobody else changes it or its members.

    Raises Http404 when it is gone. A submission, whose job refers to the organization, doesn't wait for the lock.
    """
    locked = Organization.objects.select_for_update(no_key=True).filter(pk=organization.pk).first()
    if locked is None:
        raise Http404
    return locked


def check_administers(by: By, organization: Organization) -> None:
    """Raise PermissionDenied unless `by` is an admin of the organization now. To be called under its lock.

    So of two admins who take each other's role away at once, one is left.
    """
    if isinstance(by, Actor):
        return
    current = User.objects.filter(pk=by.pk, is_active=True).first()
    elsewhere = organization_of_key(by) not in (None, organization.pk)
    if elsewhere or current is None or not (is_superuser(current) or role_now(current, organization) == Role.ADMIN):
        raise PermissionDenied(f"Only the admins of {organization} can do this.")


def check_runs_site(by: By) -> None:
    """Raise PermissionDenied unless `by` is a superuser now, and not with a key for one organization."""
    if isinstance(by, Actor):
        return
    superuser = User.objects.filter(pk=by.pk, is_active=True, is_superuser=True)
    if organization_of_key(by) is not None or not superuser.exists():
        raise PermissionDenied("Only superusers can do this.")


def role_now(user: User, organization: Organization) -> Role | None:
    """Return the role of the user's membership; None: no member. A superuser has none by being one."""
    membership = Membership.objects.filter(user=user, organization=organization).first()
    return Role(membership.role) if membership else None
