"""The verbs of a user's own API keys."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import QuerySet

from cloudtrain_site.models import ApiKey

#: More keys would be a script's mistake, and too long a list to read.
MAX_KEYS_PER_USER = 50


def keys_of(user: User) -> QuerySet[ApiKey]:
    """Return the keys of `user`, newest first; expired ones too."""
    keys: QuerySet[ApiKey] = ApiKey.objects.filter(user=user)
    return keys


def make_key(user: User, name: str, lifetime: timedelta) -> tuple[ApiKey, str] | None:
    """Return a new key and its only copy in clear. None: the user has the largest allowed number."""
    if keys_of(user).count() >= MAX_KEYS_PER_USER:
        return None
    return issue_key(user, name, lifetime)


def issue_key(user: User, name: str, lifetime: timedelta) -> tuple[ApiKey, str]:
    """Return a new key and its only copy in clear, without a limit on their number: for the server's operator."""
    row, key = ApiKey.objects.create(user=user, name=name, expiry=lifetime)
    return row, key


def revoke_key(user: User, key_id: str) -> bool:
    """Delete the key that begins with `key_id`, and end the streams that it opened. False: the user has none."""
    row = None if "\x00" in key_id else keys_of(user).filter(token_key=key_id).first()
    if row is None:
        return False
    row.delete()
    return True
