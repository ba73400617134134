"""The verbs of API keys: making and revoking, each on record."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.db.models import QuerySet

from cloudtrain_site.audit.recording import Subject, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.models import ApiKey, Scope
from cloudtrain_site.states import Actor

#: More keys would be a script's mistake, and too long a list to read.
MAX_KEYS_PER_USER = 50
ALL_SCOPES = frozenset(Scope)


def keys_of(user: User) -> QuerySet[ApiKey]:
    """Return the keys of `user`, newest first; expired ones too."""
    keys: QuerySet[ApiKey] = ApiKey.objects.filter(user=user).select_related("organization")
    return keys


def organization_of_key(user: User | AnonymousUser) -> int | None:
    """Return the id of the organization that the request's key is for. None: all of its owner's, or there is no key."""
    return getattr(user, "key_organization_id", None)


def make_key(
    user: User,
    name: str,
    lifetime: timedelta,
    *,
    by: Actor,
    scopes: Collection[str] = ALL_SCOPES,
    organization_id: int | None = None,
) -> tuple[ApiKey, str] | None:
    """Return a new key and its only copy in clear. None: the user has the largest allowed number.

    With an organization, which must be one of the user's, the key is for that one alone.
    """
    with unit_of_work():
        if connection.features.has_select_for_update:
            User.objects.select_for_update(no_key=True).filter(pk=user.pk).values_list("pk").first()
        if keys_of(user).count() >= MAX_KEYS_PER_USER:
            return None
        return issue_key(user, name, lifetime, by=by, scopes=scopes, organization_id=organization_id)


def issue_key(
    user: User,
    name: str,
    lifetime: timedelta,
    *,
    by: Actor,
    scopes: Collection[str] = ALL_SCOPES,
    organization_id: int | None = None,
) -> tuple[ApiKey, str]:
    """As `make_key`, without a limit on their number: for the server's operator."""
    columns = {f"may_{scope}": scope in scopes for scope in Scope}
    with unit_of_work():
        row, key = ApiKey.objects.create(
            user=user, name=name, expiry=lifetime, organization_id=organization_id, **columns
        )
        after = {"owner": user.username, "scopes": row.scopes, "expires_at": row.expiry}
        record("key_made", _subject(row), by=by, organization=row.organization, after=after)
    return row, key


def revoke_key(user: User, key_id: str, *, by: Actor) -> bool:
    """Delete the key that begins with `key_id`, and end the streams that it opened. False: the user has none."""
    with unit_of_work():
        row = None if "\x00" in key_id else keys_of(user).filter(token_key=key_id).first()
        if row is None or not ApiKey.objects.filter(pk=row.pk).delete()[0]:
            return False
        before = {"owner": user.username, "scopes": row.scopes, "expires_at": row.expiry}
        record("key_revoked", _subject(row), by=by, organization=row.organization, before=before)
    return True


def revoke_all_keys(user: User, *, by: Actor) -> int:
    """Delete all keys of `user`, as with the account or a changed password. Returns how many."""
    return sum(revoke_key(user, key_id, by=by) for key_id in keys_of(user).values_list("token_key", flat=True))


def _subject(key: ApiKey) -> Subject:
    return Subject("API key", key.token_key, key.name or key.token_key)
