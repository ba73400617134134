"""The forms of the accounts' pages."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import ChangePasswordForm, LoginForm, ResetPasswordForm, ResetPasswordKeyForm, UserTokenForm
from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest

from cloudtrain_site.accounts import tasks
from cloudtrain_site.limits import brakes


class SignInForm(LoginForm):  # type: ignore[misc]
    """A name or a mail address, and a password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "User name or mail address"
        self.fields["login"].widget.attrs = {
            "autocomplete": "username",
            "autocapitalize": "none",
            "spellcheck": "false",
            "autofocus": True,
        }
        self.fields["password"].widget.attrs = {"autocomplete": "current-password"}
        self.fields["password"].help_text = ""


class RevokeKeys(forms.Form):
    """The choice that goes with each new password."""

    revoke_keys = forms.BooleanField(label="Revoke all my API keys too", required=False)


class NewPasswordForm(ChangePasswordForm, RevokeKeys):  # type: ignore[misc]
    """The old password and a new one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].widget.attrs["autofocus"] = True
        self.order_fields(["oldpassword", "password1", "password2", "revoke_keys"])
        _name_new_passwords(self)

    def clean_oldpassword(self) -> str:
        """Return it. Raises PausedError for one of too many wrong ones."""
        attempt = brakes.begin(brakes.OWN_PASSWORD.key(str(self.user.pk)))
        try:
            password: str = super().clean_oldpassword()
        except forms.ValidationError:
            attempt.failed("A change of a password was refused", user=self.user.get_username())
            raise
        attempt.succeeded()
        return password


class ForgottenPasswordForm(ResetPasswordForm):  # type: ignore[misc]
    """A mail address. Its accounts are looked for by a worker, so that all addresses take the same time here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "Mail address"
        self.fields["email"].widget.attrs = {"autocomplete": "email", "autofocus": True}

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Ask for the mails. Raises PausedError when too many were asked for."""
        email = self.clean_email()
        sender = brakes.MAIL_SENDER.key(brakes.address_of(request))
        brakes.begin(brakes.MAIL.key(email.lower()), sender)
        tasks.enqueue("send_reset_links", email)
        return email


class LinkForm(UserTokenForm):  # type: ignore[misc]
    """What a link of such a mail consists of."""

    def _get_user(self, uidb36: str) -> User | None:
        user: User | None = super()._get_user(uidb36)
        return user if user is not None and user.is_active else None


class PasswordOfLinkForm(ResetPasswordKeyForm, RevokeKeys):  # type: ignore[misc]
    """A new password, without the old one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].widget.attrs["autofocus"] = True
        self.order_fields(["password1", "password2", "revoke_keys"])
        _name_new_passwords(self)


class MailAddressForm(forms.Form):
    email = forms.EmailField(label="New mail address", max_length=254)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].widget.attrs = {"autocomplete": "email"}


def _name_new_passwords(form: forms.Form) -> None:
    form.fields["password1"].label = "New password"
    form.fields["password2"].label = "Repeat the new password"
    if "oldpassword" in form.fields:
        form.fields["oldpassword"].label = "Current password"
        form.fields["oldpassword"].help_text = ""
