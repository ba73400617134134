"""The site's own rows about a person, for their export, and where its tables have people's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User

from cloudtrain_site import extensions
from cloudtrain_site.accounts.api_keys import keys_of
from cloudtrain_site.accounts.preferences import mail_choices, preferences_of
from cloudtrain_site.audit.queries import of_person
from cloudtrain_site.extensions import NamedIn
from cloudtrain_site.notices.models import Channel, Delivery

Rows = Iterable[Mapping[str, Any]]
CHUNK = 500


def account(user: User) -> Rows:
    columns = ("username", "first_name", "last_name", "email", "date_joined", "last_login", "is_active", "is_superuser")
    own = {name: getattr(user, name) for name in columns}
    chosen = preferences_of(user)
    yield {**own, "time_zone": chosen.time_zone, "theme": chosen.theme, "mail": mail_choices(user)}


def mail_addresses(user: User) -> Rows:
    yield from EmailAddress.objects.filter(user=user).values("email", "verified", "primary")


def api_keys(user: User) -> Rows:
    """Yield the keys by their names and beginnings: what they are is stored nowhere."""
    for key in keys_of(user):
        yield {
            "begins_with": key.token_key,
            "name": key.name,
            "scopes": key.scopes,
            "organization": key.organization and key.organization.name,
            "made_at": key.created,
            "expires_at": key.expiry,
            "last_used_at": key.last_used_at,
            "last_used_from": key.last_used_from,
        }


def sessions(user: User) -> Rows:
    yield from UserSession.objects.filter(user=user).values("ip", "user_agent", "created_at", "last_seen_at")


def second_factors(user: User) -> Rows:
    yield from Authenticator.objects.filter(user=user).values("type", "created_at", "last_used_at")


def identity_provider_accounts(user: User) -> Rows:
    yield from SocialAccount.objects.filter(user=user).values("provider", "uid", "date_joined", "last_login")


def audit(user: User) -> Rows:
    columns = (
        "at",
        "action",
        "actor",
        "subject_kind",
        "subject",
        "organization",
        "before",
        "after",
        "source",
        "address",
    )
    yield from of_person(user.pk).order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def channels(user: User) -> Rows:
    yield from Channel.objects.filter(user=user).values("kind", "name", "shown", "muted")


def deliveries(user: User) -> Rows:
    columns = ("notice__kind", "notice__subject", "kind", "shown", "created_at", "done_at", "is_sent", "reason")
    yield from Delivery.objects.filter(user=user).order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


_ROWS = (
    *(account, mail_addresses, second_factors, identity_provider_accounts, api_keys, sessions),
    *(audit, channels, deliveries),
)


def register_people() -> None:
    """Register them. To be called once, when all apps are loaded."""
    for rows in _ROWS:
        extensions.personal_data.register(rows.__name__, rows)
    for place in (
        NamedIn("cloudtrain_site.AuditRecord", names=("actor",), sentences=("subject", "before", "after")),
        NamedIn("admin.LogEntry", sentences=("object_repr", "change_message")),
        NamedIn("django_eventstream.Event", sentences=("data",)),
        NamedIn("notices.Notice", sentences=("subject", "text", "data", "emails")),
        NamedIn("notices.Delivery", sentences=("recipient", "shown", "reason")),
        NamedIn("notices.Channel", sentences=("name", "shown")),
    ):
        extensions.named_in.register(place.model, place)
    extensions.kept_of_person.register("admin.LogEntry.user", "actions in the admin")
