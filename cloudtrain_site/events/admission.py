"""Admits many event streams with a few queries: those of browsers, as long as nothing needs a closer look.

Each of these is admitted as the view (`stream.py`) would admit it. Whoever isn't admitted here asks the view, which
knows all the rest: keys, sessions that have just begun or are over, demands of a second factor, and every refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import OuterRef, Subquery
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string

from cloudtrain_site.accounts.sessions import beginnings, overdue_since
from cloudtrain_site.conf.sign_in import EVERYBODY, NOBODY, SignIn
from cloudtrain_site.database.prepared import Prepared, padded
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.events.readers import StreamReader, last_seen
from cloudtrain_site.events.store import current_number
from cloudtrain_site.limits import streams
from cloudtrain_site.limits.errors import LimitReachedError

_BACKEND = f"{ModelBackend.__module__}.{ModelBackend.__qualname__}"
_STORED = Session.objects.filter(session_key=OuterRef("session_key")).values("session_data")
_OPEN_SESSIONS = Prepared(
    lambda now, oldest, idle_since, *keys: (
        UserSession.objects.filter(session_key__in=keys, user__is_active=True)
        .exclude(overdue_since(oldest, idle_since))
        .annotate(stored=Subquery(_STORED.filter(expire_date__gt=now)))
        .select_related("user")
        .only("session_key", *(f"user__{name}" for name in ("username", "password", "is_active", "is_superuser")))
    )
)


@dataclass(slots=True)
class Candidate:
    """A browser that asks for a stream; admitted when it has a `reader`."""

    session_key: str
    #: What it says that it has seen; "": nothing.
    last_id: str
    #: The user's id that its page was made for; None: it doesn't say.
    page_owner: str | None
    user: User | None = None
    reader: StreamReader | None = None


def admit(candidates: Sequence[Candidate]) -> None:
    """Give those a reader who may certainly have one, and count their streams."""
    # First of all: whatever changes after this number ends the stream, and all that changed before is read below.
    newest = current_number()
    sign_in = config_in_force().sign_in
    if sign_in.remote_user is not None or sign_in.second_factor_required_of == EVERYBODY:
        return
    users = _users_of({candidate.session_key for candidate in candidates})
    for candidate in candidates:
        user, owner = users.get(candidate.session_key), candidate.page_owner
        if user is not None and owner in (None, str(user.pk)) and not _must_be_asked(user, sign_in):
            candidate.user = user
    members = {candidate.user.pk: candidate.user for candidate in candidates if candidate.user is not None}
    if not members:
        return
    channels = import_string(settings.EVENTSTREAM_CHANNELMANAGER_CLASS)().get_channels_of_users(members.values())
    elsewhere = streams.open_elsewhere()
    for candidate in candidates:
        if candidate.user is not None and (own := channels.get(candidate.user.pk)):
            reader = StreamReader(
                *(candidate.user.pk, frozenset(own)),
                joined_at=newest,
                read_to=last_seen(candidate.last_id, newest),
                sign_in=sign_in,
            )
            candidate.reader = _counted(reader, elsewhere[reader.user_id])


def _users_of(keys: Collection[str]) -> dict[str, User]:
    """Return by session the users who are signed in by a session that is listed, and whose time is not over."""
    now = timezone.now()
    rows = _OPEN_SESSIONS(now, *beginnings(now), *padded(keys))
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    return {
        row.session_key: row.user for row in rows if row.stored and _is_signed_in(row.user, store.decode(row.stored))
    }


def _is_signed_in(user: User, session: dict[str, Any]) -> bool:
    """Whether the session is this user's, by the only backend that we know, and their password is still the same."""
    return (
        session.get(SESSION_KEY) == str(user.pk)
        and session.get(BACKEND_SESSION_KEY) == _BACKEND
        and _BACKEND in settings.AUTHENTICATION_BACKENDS
        and constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    )


def _must_be_asked(user: User, sign_in: SignIn) -> bool:
    """Whether the site demands a second factor of this user."""
    return user.is_superuser and sign_in.second_factor_required_of != NOBODY


def _counted(reader: StreamReader, elsewhere: int) -> StreamReader | None:
    try:
        streams.hold_place(reader, elsewhere)
    except LimitReachedError:
        return None  # the view refuses it, and tells of it
    return reader
