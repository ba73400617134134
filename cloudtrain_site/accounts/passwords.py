"""What a new password must be beside Django's rules, and what happens with one: what the old one opened ends."""

from __future__ import annotations

import re

from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from cloudtrain_site.accounts import tasks
from cloudtrain_site.accounts.api_keys import revoke_all_keys
from cloudtrain_site.audit.recording import record
from cloudtrain_site.limits.brakes import address_of
from cloudtrain_site.states import Actor

#: A shorter name is part of many words.
_SHORTEST_NAME = 3


class LongWithoutNamesValidator:
    """Refuses a password that is long only by the user's own name or mail address: `vera-vera-vera`."""

    def __init__(self, min_length: int) -> None:
        self.min_length = min_length

    def validate(self, password: str, user: User | None = None) -> None:
        if user is None:
            return
        names = {user.username, user.email, user.email.partition("@")[0]}
        found = sorted((name for name in names if len(name) >= _SHORTEST_NAME), key=len, reverse=True)
        # The longest first: of an address nothing is left behind.
        rest = re.sub("|".join(map(re.escape, found)), "", password, flags=re.IGNORECASE) if found else password
        if len(rest) < self.min_length <= len(password):
            raise ValidationError(
                f"The password is too similar to your name: it has fewer than {self.min_length} characters without it.",
                code="password_too_similar",
            )

    def get_help_text(self) -> str:
        return "Your name and your mail address don't count for the length of the password."


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
