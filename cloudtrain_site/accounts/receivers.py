"""What follows from a change of a user, and from a sign-out."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest


@receiver(user_logged_out, dispatch_uid="cloudtrain.session_ended")
def signed_out(*, request: HttpRequest, **kwargs: object) -> None:
    """Take the session from the account page's list."""
    UserSession.objects.filter(session_key=request.session.session_key or "").delete()


@receiver(post_save, sender=User, dispatch_uid="cloudtrain.user_mail")
def user_mail_changed(*, instance: User, created: bool, update_fields: frozenset[str] | None, **kwargs: object) -> None:
    """Forget the confirmation of an address that the account no longer has: an admin has entered another one."""
    if not created and (update_fields is None or "email" in update_fields):
        confirmed = EmailAddress.objects.filter(user=instance, verified=True)
        confirmed.exclude(email=instance.email.lower()).delete()
