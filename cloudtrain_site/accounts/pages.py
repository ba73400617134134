"""The pages on which people sign in and out, and change how they do."""

from __future__ import annotations

from typing import Any, cast

from allauth.account.decorators import reauthentication_required
from allauth.account.views import (
    LoginView,
    PasswordChangeView,
    PasswordResetDoneView,
    PasswordResetFromKeyDoneView,
    PasswordResetFromKeyView,
    PasswordResetView,
    ReauthenticateView,
)
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LogoutView
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from cloudtrain_site.accounts.addresses import address_of_link, ask_to_confirm, confirm, mail_state
from cloudtrain_site.accounts.browsers import remember_browser
from cloudtrain_site.accounts.forms import MailAddressForm
from cloudtrain_site.accounts.passwords import password_changed
from cloudtrain_site.accounts.sessions import end_other_sessions, end_session
from cloudtrain_site.accounts.sso.passwords import local_sign_in
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.extensions import frames
from cloudtrain_site.limits import brakes

NOT_FOUND = 404


def framed(request: HttpRequest) -> dict[str, Any]:
    """Return the context of the bar around a page of a signed-in user."""
    return {name: value for frame in frames.values() for name, value in frame(request).items()}


class SignIn(LoginView):  # type: ignore[misc]
    """The one door: the admin's leads here too."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        people = {"command": COMMAND, "is_anybody_there": User.objects.exists}
        return {**context, **people, "ways": config_in_force().sign_in}


class ChangePassword(PasswordChangeView):  # type: ignore[misc]
    """Signs out every other browser of the user."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated and not request.user.has_usable_password():
            return HttpResponseRedirect(reverse("account"))  # who signs in elsewhere has none here
        return cast(HttpResponseBase, super().dispatch(request, *args, **kwargs))

    def form_valid(self, form: Any) -> HttpResponse:
        with unit_of_work():
            response: HttpResponse = super().form_valid(form)
            revoke_keys = form.cleaned_data["revoke_keys"]
            password_changed(self.request, form.user, action="password_changed", revoke_keys=revoke_keys)
        remember_browser(self.request, response, form.user)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**framed(self.request), **super().get_context_data(**kwargs)}


class PasswordOfLink(PasswordResetFromKeyView):  # type: ignore[misc]
    """A new password by the link of a mail."""

    def form_valid(self, form: Any) -> HttpResponse:
        user = self.reset_user
        with unit_of_work():
            response: HttpResponse = super().form_valid(form)
            revoke_keys = form.cleaned_data["revoke_keys"]
            password_changed(self.request, user, action="password_reset", revoke_keys=revoke_keys)
        remember_browser(self.request, response, user)
        return response

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if context.get("token_fail"):
            brakes.begin(brakes.LINK.key(brakes.address_of(self.request)))
            kwargs["status"] = NOT_FOUND
        return cast(HttpResponse, super().render_to_response(context, **kwargs))


@reauthentication_required  # type: ignore[untyped-decorator]
@require_http_methods(["GET", "HEAD", "POST"])
def change_address(request: HttpRequest) -> HttpResponse:
    """Show the mail address, and mail a link to the one that is to be confirmed: another one, or the present one."""
    user = cast(User, request.user)
    form = MailAddressForm(request.POST if "email" in request.POST else None)
    email = user.email if "again" in request.POST else ""
    if form.is_bound and form.is_valid():
        email = form.cleaned_data["email"]
    if request.method == "POST" and email:
        brakes.begin(brakes.MAIL.key(email.lower()), brakes.MAIL_SENDER.key(brakes.address_of(request)))
        ask_to_confirm(user, email)
        return HttpResponseRedirect(f"{reverse('account_email')}?sent")
    context = {**framed(request), "form": form, "mail_state": mail_state(user), "is_sent": "sent" in request.GET}
    return render(request, "account/email.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def confirm_address(request: HttpRequest, key: str) -> HttpResponse:
    """Ask whether to confirm the address of a link, and do it. Only its own account can: a stranger's click can't."""
    address = address_of_link(key)
    problem = ""
    if address is None:
        brakes.begin(brakes.LINK.key(brakes.address_of(request)))
        problem = "old"
    elif address.user_id != request.user.pk:
        problem = "other"
    elif request.method == "POST":
        if confirm(request, address):
            return HttpResponseRedirect(f"{reverse('account')}?new-address")
        problem = "taken"
    context = {**framed(request), "problem": problem, "email": "" if problem == "other" else address and address.email}
    return render(request, "account/email_confirm.html", context, status=NOT_FOUND if problem else 200)


@login_required
@require_POST
def end_sessions(request: HttpRequest) -> HttpResponse:
    """End the session that the form names, or all others. 404: there is none like that."""
    user, current = cast(User, request.user), request.session.session_key
    number = request.POST.get("session", "")
    if number == "others":
        ended = end_other_sessions(user, current)
    else:
        ended = int(number.isascii() and number.isdigit() and len(number) < 19 and end_session(user, int(number)))
        if not ended:
            raise Http404
    return HttpResponseRedirect(f"{reverse('account')}?ended={ended}#sessions")


sign_in = SignIn.as_view()
sign_out = LogoutView.as_view(next_page="account_login")
reauthenticate = never_cache(ReauthenticateView.as_view())
change_password = never_cache(local_sign_in(ChangePassword.as_view()))
forgotten_password = never_cache(local_sign_in(PasswordResetView.as_view()))
link_sent = local_sign_in(PasswordResetDoneView.as_view())
password_of_link = never_cache(local_sign_in(PasswordOfLink.as_view()))
password_set = local_sign_in(PasswordResetFromKeyDoneView.as_view())
email = never_cache(change_address)
confirm_email = never_cache(confirm_address)
