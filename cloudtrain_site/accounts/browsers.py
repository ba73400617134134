"""The browsers in which a person has signed in before, by a signed cookie of each.

Failures of others pause an account, and an attacker with a thousand addresses could keep its owner out for ever. A
browser that its owner has used is counted by itself. A changed password makes all of them strangers again.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import constant_time_compare, salted_hmac

SALT = "cloudtrain.browsers"
MAX_AGE_SECONDS = 365 * 86_400
#: People who sign in at one browser by turns.
MAX_USERS = 8


def known_browser(request: HttpRequest, user: User) -> str | None:
    """Return what the browser is called, if the user has signed in there since the password was last changed."""
    name, marks = _read(request)
    mark = marks.get(str(user.pk))
    return name if mark is not None and constant_time_compare(mark, _mark_of(user)) else None


def remember_browser(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """Have the browser be known as one of the user's."""
    name, marks = _read(request)
    marks.pop(str(user.pk), None)
    newest = {**dict(list(marks.items())[1 - MAX_USERS :]), str(user.pk): _mark_of(user)}
    value = signing.dumps([name, newest], salt=SALT)
    response.set_cookie(
        settings.BROWSER_COOKIE_NAME,
        value,
        max_age=MAX_AGE_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> tuple[str, dict[str, str]]:
    """Return the browser's name, and a mark for each of its users."""
    try:
        cookie = request.COOKIES.get(settings.BROWSER_COOKIE_NAME, "")
        name, marks = signing.loads(cookie, salt=SALT, max_age=MAX_AGE_SECONDS)
    except signing.BadSignature:
        return secrets.token_urlsafe(12), {}
    return name, marks


def _mark_of(user: User) -> str:
    return salted_hmac(SALT, f"{user.pk}:{user.password}", algorithm="sha256").hexdigest()[:32]
