"""The sessions of a person's browsers: listed, ended, and over after a time.

A session is over `SESSION_COOKIE_AGE` seconds after its sign-in, and `SESSION_IDLE_SECONDS` after its last use. Use is
what a person does: an open page that follows the events keeps no session alive.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from cloudtrain_site.accounts.user_agents import browser_name
from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.database.unit_of_work import unit_of_work

logger = logging.getLogger("simpletuner.cloud.http")

#: Each process looks at a session at most this often: a look at every request would make each read a write.
LOOK_SECONDS = 60.0
HEALTH = "/api/cloud/health"
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """One line of the list."""

    pk: int
    browser: str
    address: str
    since: datetime
    last_used_at: datetime
    is_this_one: bool


def sessions_of(user: User, current_key: str | None) -> list[BrowserSession]:
    """Return the living sessions of `user`, the one that asks first, then the last used ones."""
    listed = [
        BrowserSession(
            pk=row.pk,
            browser=browser_name(row.user_agent),
            address=row.ip,
            since=row.created_at,
            last_used_at=row.last_seen_at,
            is_this_one=row.session_key == current_key,
        )
        for row in UserSession.objects.purge_and_list(user)
    ]
    return sorted(listed, key=lambda one: (one.is_this_one, one.last_used_at), reverse=True)


def end_session(user: User, pk: int) -> bool:
    """End a session of the user's, and its open streams. False: the user has none like that."""
    return _end(UserSession.objects.filter(user=user, pk=pk)) > 0


def end_other_sessions(user: User, current_key: str | None) -> int:
    """End all sessions of the user but one. Returns how many."""
    return _end(UserSession.objects.filter(user=user).exclude(session_key=current_key or ""))


def _end(rows: QuerySet[Any]) -> int:
    with unit_of_work():
        keys = list(rows.values_list("session_key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        rows.delete()  # the rooms above end the streams with the rows
    return len(keys)


def overdue(now: datetime) -> Q:
    """Return the condition for rows of sessions whose time is over."""
    return overdue_since(*beginnings(now))


def beginnings(now: datetime) -> tuple[datetime, datetime]:
    """Return since when a session may have been open, and since when unused, to be still open `now`."""
    oldest = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
    return oldest, now - timedelta(seconds=settings.SESSION_IDLE_SECONDS)


def overdue_since(oldest: datetime, idle_since: datetime) -> Q:
    """Return the condition of `overdue` by what `beginnings` returns."""
    return Q(created_at__lt=oldest) | Q(last_seen_at__lt=idle_since)


class SessionMiddleware(MiddlewareMixin):
    """Ends a session whose time is over before its request is answered, and notes the use of the others."""

    #: By session and whether it was in use, when this process last looked.
    looks: ClassVar[dict[tuple[str, bool], float]] = {}

    def process_request(self, request: HttpRequest) -> None:
        if request.path_info.startswith(HEALTH):
            return  # answers without a database, too
        key = request.session.session_key
        if key is None or request.session.get(SESSION_KEY) is None:
            return
        look = (key, is_use(request))
        if time.monotonic() - self.looks.get(look, -LOOK_SECONDS) < LOOK_SECONDS:
            return
        if isinstance(request.user, User):
            try:
                _look(request, request.user, is_used=look[1])
            except DatabaseError as error:  # reading works on a full disk
                if noted_failure(error) is None:
                    logger.warning("Use of a session could not be noted", extra={"error": str(error)})
        if len(self.looks) > 10_000:
            self.looks.clear()
        self.looks[look] = time.monotonic()


def is_use(request: HttpRequest) -> bool:
    """Whether a person opens a page or changes something, and not a script of an open page fetches by itself."""
    if request.method not in _SAFE:
        return True
    return "X-Reader" not in request.headers and not request.path_info.startswith("/api/")


def _look(request: HttpRequest, user: User, *, is_used: bool) -> None:
    key, now = request.session.session_key, timezone.now()
    row = UserSession.objects.filter(session_key=key).first()
    if row is None:
        client = {"ip": _ip_of(request), "user_agent": request.headers.get("User-Agent", "")[:200]}
        UserSession.objects.get_or_create(session_key=key, defaults={"user": user, **client})
    elif UserSession.objects.filter(overdue(now), pk=row.pk).exists():
        logger.info("A session's time is over", extra={"user": user.get_username()})
        logout(request)
    elif is_used and now - row.last_seen_at > timedelta(seconds=LOOK_SECONDS / 2):
        UserSession.objects.filter(pk=row.pk).update(last_seen_at=now, ip=_ip_of(request))


def _ip_of(request: HttpRequest) -> str:
    text = str(request.META.get("REMOTE_ADDR", ""))
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - a socket's has none; nothing listens here


def over_by_now() -> tuple[QuerySet[Any], QuerySet[Any]]:
    """Return the sessions whose time is over, and then what was listed about sessions that are gone, to be deleted."""
    ended = UserSession.objects.filter(overdue(timezone.now())).values("session_key")
    gone = UserSession.objects.exclude(session_key__in=Session.objects.values("session_key"))
    return Session.objects.filter(session_key__in=ended), gone
