"""A user's preferences: the time zone and the theme of the pages, and the kinds of mail."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from functools import cache

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import QuerySet

from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import MutedMail, Preferences


def muting_users(kind: str) -> QuerySet[MutedMail]:
    """Return the ids of the users who don't want mail of `kind`, for an `exclude(pk__in=...)`."""
    return MutedMail.objects.filter(kind=kind).values("user")  # type: ignore[return-value]


def mail_choices(user: User) -> dict[str, bool]:
    """Return for each kind whether `user` wants it."""
    muted = set(MutedMail.objects.filter(user=user).values_list("kind", flat=True))
    return {kind: kind not in muted for kind in notice_choices()}


@cache
def time_zones() -> tuple[str, ...]:
    return tuple(sorted(name for name in zoneinfo.available_timezones() if "/" in name or name == "UTC"))


# Each page asks for this.
_PREFERENCES = Prepared(lambda user: Preferences.objects.filter(user_id=user))


def preferences_of(user: User | AnonymousUser) -> Preferences:
    """Return the preferences of `user`, or the defaults, which are not stored."""
    return _PREFERENCES.first(user.pk or 0) or Preferences()


def change_preferences(
    user: User,
    *,
    time_zone: str | None = None,
    theme: str | None = None,
    list_columns: str | None = None,
    mail: Mapping[str, bool] | None = None,
) -> None:
    """Store the given values; None leaves one unchanged. The names must have been checked."""
    values = {"time_zone": time_zone, "theme": theme, "list_columns": list_columns}
    with transaction.atomic():
        if chosen := {name: value for name, value in values.items() if value is not None}:
            Preferences.objects.update_or_create(user=user, defaults=chosen)
        for kind, is_chosen in (mail or {}).items():
            if is_chosen:
                MutedMail.objects.filter(user=user, kind=kind).delete()
            else:
                MutedMail.objects.get_or_create(user=user, kind=kind)
