"""Receivers of changes of users and their rights: open event streams get the new rights at once."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import PermissionDenied
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from cloudtrain_site.accounts.api_keys import keys_of, revoke_all_keys, revoke_key
from cloudtrain_site.events.publish import rights_changed
from cloudtrain_site.models import ApiKey
from cloudtrain_site.states import SYSTEM
from jobs.costs.prices import note_prices
from jobs.models import Membership, Organization, ProviderConfig, ServiceAccount
from jobs.organizations.service_accounts import end_service_keys
from jobs.signals import membership_ended, organization_closed

#: Written at every login; no rights change with it.
LOGIN_FIELDS = frozenset({"last_login"})


@receiver([post_save, post_delete], sender=Membership, dispatch_uid="jobs.membership_changed")
def membership_changed(*, instance: Membership, **kwargs: Any) -> None:
    rights_changed(instance.user_id)


@receiver(membership_ended, dispatch_uid="jobs.keys_of_member")
def end_keys_of_member(*, user: User, organization: Organization, **kwargs: Any) -> None:
    """Revoke the keys that the person had for this organization alone."""
    for key_id in keys_of(user).filter(organization=organization).values_list("token_key", flat=True):
        revoke_key(user, key_id, by=SYSTEM)


@receiver(organization_closed, dispatch_uid="jobs.keys_of_programs")
def end_keys_of_programs(*, organization: Organization, **kwargs: Any) -> None:
    end_service_keys(organization)


@receiver(user_logged_in, dispatch_uid="jobs.no_sign_in")
def refuse_service_account(*, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Keep a service account from being signed in, by whatever door: its session is ended again."""
    if ServiceAccount.objects.filter(user=user).exists():
        request.session.flush()
        request.user = AnonymousUser()
        raise PermissionDenied("Nobody can sign in as a service account.")


@receiver(user_logged_out, dispatch_uid="jobs.logged_out")
def logged_out(*, user: User | None, **kwargs: Any) -> None:
    """End the streams of the session."""
    if user is not None:
        rights_changed(user.pk)


@receiver(post_delete, sender=ApiKey, dispatch_uid="jobs.key_revoked")
def key_revoked(*, instance: ApiKey, **kwargs: Any) -> None:
    """End the streams that the key opened."""
    rights_changed(instance.user_id)


@receiver(post_delete, sender=UserSession, dispatch_uid="jobs.session_ended")
def session_ended(*, instance: UserSession, **kwargs: Any) -> None:
    """End the streams of the session."""
    rights_changed(instance.user_id)


@receiver(post_delete, sender=Authenticator, dispatch_uid="jobs.second_factor_removed")
def second_factor_removed(*, instance: Authenticator, **kwargs: Any) -> None:
    """Have the person's streams reopened: a second factor may be demanded."""
    rights_changed(instance.user_id)


@receiver(post_save, sender=User, dispatch_uid="jobs.user_changed")
def user_changed(*, instance: User, created: bool, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """A user may have been deactivated, by whatever way, or made a superuser."""
    if created or update_fields == LOGIN_FIELDS:
        return
    rights_changed(instance.pk)
    if not instance.is_active:
        revoke_all_keys(instance, by=SYSTEM)


@receiver(post_save, sender=ProviderConfig, dispatch_uid="jobs.prices_changed")
def prices_changed(*, instance: ProviderConfig, **kwargs: Any) -> None:
    """Date the prices that somebody has just changed."""
    note_prices([instance])
