"""What the jobs room does about news of people: their open event streams get their new rights at once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from cloudtrain_site.events.publish import rights_changed
from cloudtrain_site.models import ApiKey
from jobs.models import Membership

#: Written at every login; says nothing about rights.
LOGIN_FIELDS = frozenset({"last_login"})


def membership_changed(*, instance: Membership, **kwargs: Any) -> None:
    """Somebody joined, left, or is something else now."""
    rights_changed(instance.user_id)


def logged_out(*, user: User | None, **kwargs: Any) -> None:
    """Somebody signed out: the streams of that session must not go on."""
    if user is not None:
        rights_changed(user.pk)


def key_revoked(*, instance: ApiKey, **kwargs: Any) -> None:
    """A key was revoked: the streams that it opened must not go on."""
    rights_changed(instance.user_id)


def user_changed(*, instance: User, created: bool, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """Somebody may have been deactivated, or made a superuser."""
    if not created and update_fields != LOGIN_FIELDS:
        rights_changed(instance.pk)
