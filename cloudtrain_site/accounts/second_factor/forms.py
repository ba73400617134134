"""The forms that take codes: each code once, and with pauses after wrong ones."""

from __future__ import annotations

from typing import Any

from allauth.core import context
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa import app_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import (
    SECRET_SESSION_KEY,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django import forms
from django.contrib.auth.models import User
from django.db import transaction

from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.limits import brakes

#: Codes, by the person's account: who tries them has the password already.
CODE = brakes.Kind("code", 5)
#: Of an authenticator's data: the number of the last time step whose code was taken.
LAST_STEP = "last_step"
_ATTRIBUTES = {
    "autocomplete": "one-time-code",
    "autocapitalize": "none",
    "spellcheck": "false",
    "autofocus": True,
    "maxlength": "20",
}


class _CodeMixin(forms.Form):
    """Takes a code of the app, or a recovery code."""

    user: User
    authenticator: Authenticator

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs = _ATTRIBUTES
        self.fields["code"].label = "Code from your app, or a recovery code"

    def clean_code(self) -> str:
        """Return the code. Raises ValidationError for a wrong or used one, PausedError after too many."""
        attempt = brakes.begin(CODE.key(str(self.user.pk)))
        try:
            code: str = super().clean_code()  # type: ignore[misc]
            if self.authenticator.type == Authenticator.Type.TOTP and not _take_step(self.authenticator, code):
                raise get_adapter().validation_error("incorrect_code")
        except forms.ValidationError:
            address = brakes.address_of(context.request)
            attempt.failed("A code was refused", user=self.user.get_username(), address=address)
            raise
        except SecretsLostError:
            attempt.succeeded()
            raise forms.ValidationError(
                "Codes can't be checked, because the site's key was changed. The site's operator "
                "can remove your second factor."
            ) from None
        attempt.succeeded()
        return code


class SignInCodeForm(_CodeMixin, AuthenticateForm):  # type: ignore[misc]
    """The second step of a sign-in."""


class ConfirmCodeForm(_CodeMixin, ReauthenticateForm):  # type: ignore[misc]
    """A second look at who it is."""


class AddAppForm(ActivateTOTPForm):  # type: ignore[misc]
    """The first code of a new app. Until it comes, the secret lies sealed in the session."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.user = kwargs.pop("user")
        forms.Form.__init__(self, *args, **kwargs)
        self.fields["code"].widget.attrs = {**_ATTRIBUTES, "inputmode": "numeric"}
        self.fields["code"].label = "Code from the app"
        session, adapter = context.request.session, get_adapter()
        sealed = session.get(SECRET_SESSION_KEY) if self.is_bound else None
        self.secret = adapter.decrypt(sealed) if sealed else generate_totp_secret()
        if not sealed:
            session[SECRET_SESSION_KEY] = adapter.encrypt(self.secret)

    def clean_code(self) -> str:
        """Return the code. Raises ValidationError for a wrong one, PausedError after too many."""
        attempt = brakes.begin(CODE.key(str(self.user.pk)))
        code: str = super().clean_code()
        attempt.succeeded()
        return code


def _take_step(authenticator: Authenticator, code: str) -> bool:
    """Record that the code's time step was used. False: it, or a later one, was used before.

    The library keeps that in a cache, which each process has for itself.
    """
    with transaction.atomic():
        current = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
        secret = get_adapter().decrypt(current.data["secret"])
        used = current.data.get(LAST_STEP, 0)
        new = [step for step in yield_hotp_counters_from_time() if step > used and _is_code_of(secret, step, code)]
        if not new:
            return False
        current.data[LAST_STEP] = min(new)
        current.save(update_fields=["data"])
        return True


def _is_code_of(secret: str, step: int, code: str) -> bool:
    return bool(compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step))))


def take_present_step(authenticator: Authenticator) -> None:
    """Record every code of a new app until now as used: the one that proved it must not sign in as well."""
    authenticator.data[LAST_STEP] = max(yield_hotp_counters_from_time()) - app_settings.TOTP_TOLERANCE
    authenticator.save(update_fields=["data"])
