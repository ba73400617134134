"""The verbs of one's own keys for the API."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import QuerySet

from cloudtrain_site.models import ApiKey

#: More would be a mistake of a script, and a list that nobody reads.
MOST_KEYS = 50


def keys_of(user: User) -> QuerySet[ApiKey]:
    """The keys of `user`, newest first; expired ones too."""
    keys: QuerySet[ApiKey] = ApiKey.objects.filter(user=user)
    return keys


def make_key(user: User, name: str, lifetime: timedelta) -> tuple[ApiKey, str] | None:
    """A new key, and the only copy of what it is. None: the user has as many as anybody may."""
    if keys_of(user).count() >= MOST_KEYS:
        return None
    return issue_key(user, name, lifetime)


def issue_key(user: User, name: str, lifetime: timedelta) -> tuple[ApiKey, str]:
    """A new key for `user`, however many there are, and the only copy of what it is: for who runs the server."""
    made, key = ApiKey.objects.create(user=user, name=name, expiry=lifetime)
    return made, key


def revoke_key(user: User, key_id: str) -> bool:
    """Make the key that begins with `key_id` useless, and end the streams that it opened. False: the user has none."""
    found = None if "\x00" in key_id else keys_of(user).filter(token_key=key_id).first()
    if found is None:
        return False
    found.delete()
    return True
