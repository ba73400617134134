"""What happens with a new password: what the old one opened ends."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.http import HttpRequest

from cloudtrain_site.accounts import tasks
from cloudtrain_site.accounts.api_keys import revoke_all_keys
from cloudtrain_site.audit.recording import record
from cloudtrain_site.limits.brakes import address_of
from cloudtrain_site.states import Actor


def password_changed(request: HttpRequest, user: User, *, action: str, revoke_keys: bool) -> None:
    """End the user's other sessions and, if wanted, the API keys; put it on record and mail it.

    To be called in the transaction that stores the password. Django refuses the old sessions by themselves, and the
    open streams end as soon as a user is stored.
    """
    UserSession.objects.filter(user=user).exclude(session_key=request.session.session_key or "").delete()
    revoked = revoke_all_keys(user, by=Actor.of(user)) if revoke_keys else 0
    record(action, user, by=user, after={"revoked_keys": revoked})
    if user.email:
        tasks.enqueue("send_news", "password_changed", user.email, user.pk, {"address": address_of(request)})
