"""The forms that take what a browser says about a passkey. The library expects it well formed."""

from __future__ import annotations

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms

#: More than any device says of itself.
_LONGEST = 50_000
#: What the library's readers raise for a value that lacks something, or has another type or shape.
_MALFORMED = (LookupError, AttributeError, TypeError, ValueError)


class CredentialField(forms.JSONField):
    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        """Return the value. Raises ValidationError for what is no JSON object of a sensible size and depth."""
        if isinstance(value, str) and len(value) > _LONGEST:
            raise get_adapter().validation_error("incorrect_code")
        try:
            credential = super().to_python(value)
        except RecursionError:
            credential = None
        if not isinstance(credential, dict):
            raise get_adapter().validation_error("incorrect_code")
        return credential


class _SignsInMixin:
    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except _MALFORMED:
            raise get_adapter().validation_error("incorrect_code") from None


class SecondStepPasskeyForm(_SignsInMixin, AuthenticateWebAuthnForm):  # type: ignore[misc]
    credential = CredentialField()


class SignInPasskeyForm(_SignsInMixin, LoginWebAuthnForm):  # type: ignore[misc]
    credential = CredentialField()


class ConfirmPasskeyForm(_SignsInMixin, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    credential = CredentialField()


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]
    """A new passkey and a name for it."""

    credential = CredentialField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = forms.CharField(label="Name", max_length=60, required=False, initial="Passkey")
        self.fields["passwordless"].widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        try:
            cleaned: dict[str, Any] = super().clean()
        except _MALFORMED:
            raise get_adapter().validation_error("incorrect_code") from None
        return cleaned
