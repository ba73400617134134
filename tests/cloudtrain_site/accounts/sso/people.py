"""Who is signed in, and accounts that were there before."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord


def signed_in(client: Client) -> str:
    """The name of who is signed in; empty: nobody."""
    user_id = client.session.get("_auth_user_id")
    return User.objects.get(pk=user_id).username if user_id else ""


def nothing_was_made() -> bool:
    return not User.objects.exists() and not SocialAccount.objects.exists() and not AuditRecord.objects.exists()


def existing(name: str = "old-vera", *, confirmed: bool = True, **columns: Any) -> User:
    user = User.objects.create_user(name, "vera@example.org", "a long pass phrase", **columns)
    EmailAddress.objects.create(user=user, email="vera@example.org", verified=confirmed, primary=True)
    return user
