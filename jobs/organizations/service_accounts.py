"""Service accounts of an organization: made, listed and removed by its admins, who make their keys too.

A service account counts as no admin, decides about no request and is never invited: these are for people.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import Max, OuterRef, QuerySet, Subquery
from django.http import Http404
from django.utils import timezone

from cloudtrain_site.accounts.api_keys import make_key, revoke_all_keys, revoke_key
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import ApiKey
from cloudtrain_site.states import SYSTEM
from jobs.models import Membership, Organization, ServiceAccount
from jobs.organizations.authority import By, actor_of, check_administers, lock_organization
from jobs.roles import Role

#: As many as a team has programs; more would be a script's mistake.
MAX_SERVICE_ACCOUNTS = 50


def service_accounts_of(organization: Organization) -> QuerySet[ServiceAccount]:
    """Return those that aren't removed by name, each with its `role` and when a key of it was last used."""
    role = Membership.objects.filter(user=OuterRef("user"), organization=OuterRef("organization")).values("role")
    accounts = ServiceAccount.objects.filter(organization=organization, removed_at=None).order_by("name")
    return accounts.select_related("user", "made_by", "organization").annotate(
        role=Subquery(role), last_used_at=Max("user__auth_token_set__last_used_at")
    )


def find_service_account(organization: Organization, name: str) -> ServiceAccount:
    """Raises Http404 for a name that none has, or that none has any more."""
    account = None if "\x00" in name else service_accounts_of(organization).filter(name=name).first()
    if account is None:
        raise Http404
    return account


def make_service_account(organization: Organization, name: str, role: Role, *, by: By) -> ServiceAccount:
    """Return a new service account without keys.

    Raises PermissionDenied, and Conflict for a name that one has or had, for one too many, and in a closed
    organization.
    """
    with unit_of_work():
        organization = lock_organization(organization)
        check_administers(by, organization)
        if organization.is_closed:
            raise Conflict(f"{organization} is closed and accepts no new members.")
        accounts = ServiceAccount.objects.filter(organization=organization)
        username = f"{organization.name}:{name}"[:150]
        if accounts.filter(name=name).exists() or User.objects.filter(username=username).exists():
            raise Conflict(f"There is or was a service account {name}. Choose another name.", code="name_taken")
        if accounts.filter(removed_at=None).count() >= MAX_SERVICE_ACCOUNTS:
            raise Conflict(f"{organization} has {MAX_SERVICE_ACCOUNTS} service accounts, the maximum.")
        user = User(username=username)
        user.set_unusable_password()
        user.save(force_insert=True)
        made_by = by if isinstance(by, User) else None
        account = ServiceAccount.objects.create(user=user, organization=organization, name=name, made_by=made_by)
        Membership.objects.create(user=user, organization=organization, role=role)
        record("service_account_made", account, by=actor_of(by), organization=organization, after={"role": role})
    return account


def remove_service_account(account: ServiceAccount, *, by: By) -> bool:
    """End its membership and its keys. Its jobs go on, and stay in the list under its name. False: it was removed.

    Raises PermissionDenied.
    """
    with unit_of_work():
        organization = lock_organization(account.organization)
        check_administers(by, organization)
        actor = actor_of(by)
        if not ServiceAccount.objects.filter(pk=account.pk, removed_at=None).update(removed_at=timezone.now()):
            return False
        keys = revoke_all_keys(account.user, by=actor)
        Membership.objects.filter(user=account.user).delete()
        account.user.is_active = False
        account.user.save(update_fields=["is_active"])
        record("service_account_removed", account, by=actor, organization=organization, before={"keys": keys})
    return True


def make_service_key(
    account: ServiceAccount, name: str, lifetime: timedelta, *, scopes: Collection[str], by: By
) -> tuple[ApiKey, str]:
    """Return a new key of the account, for its organization alone, and its only copy in clear.

    Raises PermissionDenied, and Conflict when the account has as many as one may have or was removed.
    """
    with unit_of_work():
        organization = lock_organization(account.organization)
        check_administers(by, organization)
        if organization.is_closed or not ServiceAccount.objects.filter(pk=account.pk, removed_at=None).exists():
            raise Conflict(f"{account} was removed, or {organization} is closed.")
        made = make_key(account.user, name, lifetime, by=actor_of(by), scopes=scopes, organization_id=organization.pk)
    if made is None:
        raise Conflict(f"{account} has the maximum number of keys. Revoke one first.", code="too_many_keys")
    return made


def revoke_service_key(account: ServiceAccount, key_id: str, *, by: By) -> bool:
    """Revoke the account's key that begins with `key_id`. False: it has none. Raises PermissionDenied."""
    with unit_of_work():
        check_administers(by, lock_organization(account.organization))
        return revoke_key(account.user, key_id, by=actor_of(by))


def end_service_keys(organization: Organization) -> int:
    """Revoke the keys of all service accounts of an organization that closes. Returns how many."""
    accounts = ServiceAccount.objects.filter(organization=organization).select_related("user")
    return sum(revoke_all_keys(account.user, by=SYSTEM) for account in accounts)


def is_service_account(user: User) -> bool:
    return ServiceAccount.objects.filter(user=user).exists()
