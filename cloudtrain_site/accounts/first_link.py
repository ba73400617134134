"""The link that makes the site's first account: printed on the server, for an hour, and only while there is none."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import FirstLink

LIFETIME_MINUTES = 60
#: Logs mask what begins so, also within an address.
TOKEN_PREFIX = "ct_"  # noqa: S105 - a prefix, not a secret


def make_first_link() -> str:
    """Return the path of a new link; the former one ends. Raises Conflict when somebody has an account."""
    token = TOKEN_PREFIX + secrets.token_hex(32)
    with transaction.atomic():
        if User.objects.exists():
            raise Conflict("An account already exists. Superusers add people under Site, People.")
        FirstLink.objects.update_or_create(
            pk=FirstLink.THE_ONE,
            defaults={
                "token_digest": _digest(token),
                "expires_at": timezone.now() + timedelta(minutes=LIFETIME_MINUTES),
            },
        )
    return reverse("first-account", args=[token])


def is_first_link(token: str) -> bool:
    """Whether the token would make the first account now."""
    return _valid(token).exists() and not User.objects.exists()


def use_first_link(token: str) -> bool:
    """End the link, in the transaction that makes the account. False: it is wrong, too old, or another was faster."""
    deleted, _ = _valid(token).delete()
    return bool(deleted) and not User.objects.exists()


def _valid(token: str) -> QuerySet[FirstLink]:
    return FirstLink.objects.filter(token_digest=_digest(token), expires_at__gt=timezone.now())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
