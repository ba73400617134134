"""How django-allauth signs people in here: by name or confirmed mail, without open sign-up."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from cloudtrain_site.accounts.browsers import known_browser, remember_browser
from cloudtrain_site.accounts.second_factor.stages import LIBRARY_STAGE, STAGE
from cloudtrain_site.accounts.sso.confirming import confirmed_elsewhere
from cloudtrain_site.limits import brakes

#: One sentence for an unknown name, a wrong password and a deactivated account.
REFUSAL = "Wrong user name or password."


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": REFUSAL,
        "email_password_mismatch": REFUSAL,
        "incorrect_password": "Wrong password.",
        "enter_current_password": "Wrong password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by admins, by invitation and by single sign-on."""
        return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Return the user of a right password; None for all others, after the same time.

        Raises PausedError after too many failures.
        """
        login = str(credentials.get("username") or credentials.get("email") or "")
        user = user_of_login(login)
        attempt = brakes.begin(*_brake_keys(request, login, user))
        # Django hashes once, whether or not there is such a user.
        name = login if user is None else user.get_username()
        signed_in = authenticate(request, username=name, password=credentials.get("password"))
        if signed_in is None:
            # Not what was typed for a name: it may be a password.
            attempt.failed("Sign-in failed", user=user and name, address=brakes.address_of(request))
        else:
            attempt.succeeded()
        return signed_in

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **kwargs)
        remember_browser(request, response, user)
        return response

    def get_login_stages(self) -> list[str]:
        stages = super().get_login_stages()
        return [STAGE if stage == LIBRARY_STAGE else stage for stage in stages]

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Whether a person confirms who they are first. Who has nothing to do so with here goes to the provider again.

        Raises ImmediateHttpResponse for the way there.
        """
        if not super().is_reauthentication_required(app=app, **kwargs):
            return False
        return bool(self.get_reauthentication_methods(context.request.user)) or confirmed_elsewhere(context.request)

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponseRedirect:
        """A deactivated account gets in by no way, and there is no page of its own about it."""
        return HttpResponseRedirect(reverse("account_login"))

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return f"{reverse('account')}?new-password"

    def is_safe_url(self, url: str) -> bool:
        """Whether a sign-in may lead to `url`: to this very host alone."""
        request = context.request
        hosts = {request.get_host()}
        return url_has_allowed_host_and_scheme(url, allowed_hosts=hosts, require_https=request.is_secure())

    def is_ajax(self, request: HttpRequest) -> bool:
        """The forms are pages: no answer is JSON."""
        return False

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """The pages themselves say what happened; Django's messages would be shown by the admin, later."""


def user_of_login(login: str) -> User | None:
    """Return the user with that confirmed mail address or that name.

    The address first: who confirmed it reads its mail, and a name that looks like an address proves nothing.
    """
    confirmed = EmailAddress.objects.filter(email=login.lower(), verified=True)
    user: User | None = User.objects.filter(pk__in=confirmed.values("user")).first()
    return user or User.objects.filter(username=login).first()


def _brake_keys(request: HttpRequest, login: str, user: User | None) -> tuple[brakes.Key, ...]:
    """Return what a sign-in is counted by: a browser of the user's, or the account and the address.

    By what was typed, so that no two names show by a common pause that they are of one account.
    """
    browser = user and known_browser(request, user)
    if user is not None and browser is not None:
        return (brakes.BROWSER.key(f"{browser}:{user.pk}"),)
    return brakes.ACCOUNT.key(login.lower()), brakes.ADDRESS.key(brakes.address_of(request))
