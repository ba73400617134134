"""An app for one-time codes, for the tests."""

from __future__ import annotations

import time

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.contrib.auth.models import User

STEP_SECONDS = 30


def code_of(secret: str, steps_ahead: int = 0) -> str:
    """Return what the app shows now, or some steps later."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // STEP_SECONDS + steps_ahead)))


def wrong_code(secret: str) -> str:
    """Return a code that the app shows at no time near to now."""
    near = {code_of(secret, steps) for steps in range(-3, 4)}
    return next(
        code
        for code in ("000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777")
        if code not in near
    )


def app_of(user: User) -> str:
    """Set up an app for the user. Returns its secret."""
    secret: str = generate_totp_secret()
    TOTP.activate(user, secret)
    assert Authenticator.objects.filter(user=user).exists()
    return secret
