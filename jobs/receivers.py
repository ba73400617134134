"""Receivers of changes of users and their rights: open event streams get the new rights at once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from cloudtrain_site.events.publish import rights_changed
from cloudtrain_site.models import ApiKey
from jobs.costs.prices import note_prices
from jobs.models import Membership, ProviderConfig

#: Written at every login; no rights change with it.
LOGIN_FIELDS = frozenset({"last_login"})


@receiver([post_save, post_delete], sender=Membership, dispatch_uid="jobs.membership_changed")
def membership_changed(*, instance: Membership, **kwargs: Any) -> None:
    rights_changed(instance.user_id)


@receiver(user_logged_out, dispatch_uid="jobs.logged_out")
def logged_out(*, user: User | None, **kwargs: Any) -> None:
    """End the streams of the session."""
    if user is not None:
        rights_changed(user.pk)


@receiver(post_delete, sender=ApiKey, dispatch_uid="jobs.key_revoked")
def key_revoked(*, instance: ApiKey, **kwargs: Any) -> None:
    """End the streams that the key opened."""
    rights_changed(instance.user_id)


@receiver(post_save, sender=User, dispatch_uid="jobs.user_changed")
def user_changed(*, instance: User, created: bool, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """A user may have been deactivated, or made a superuser."""
    if not created and update_fields != LOGIN_FIELDS:
        rights_changed(instance.pk)


@receiver(post_save, sender=ProviderConfig, dispatch_uid="jobs.prices_changed")
def prices_changed(*, instance: ProviderConfig, **kwargs: Any) -> None:
    """Date the prices that somebody has just changed."""
    note_prices([instance])
