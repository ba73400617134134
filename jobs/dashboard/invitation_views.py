"""The page to which an invitation's link leads: for members of the site, and for people without an account."""

from __future__ import annotations

from typing import Any

from allauth.account.utils import perform_login
from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits import brakes
from jobs.models import Invitation, Membership
from jobs.organizations.invitations import NO_SUCH_LINK, accept, accept_as_new, find_invitation, is_for


class NewAccountForm(forms.Form):
    """The account of somebody who has none. The verb checks what it may be."""

    username = forms.CharField(
        max_length=150,
        label="User name",
        widget=forms.TextInput(
            attrs={"class": "input", "autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    email = forms.EmailField(
        required=False,
        label="Mail address",
        help_text="For notices and for a lost password. Optional.",
        widget=forms.EmailInput(attrs={"class": "input", "autocomplete": "email"}),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        help_text="At least 12 characters, not digits alone, and not like your name or address.",
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "new-password"}),
    )


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show who invites to what, and accept it."""
    try:
        found = _find(request, token)
        if isinstance(request.user, User):
            return _for_user(request, found, token, request.user)
        return _for_newcomer(request, found, token)
    except Http404:
        return _ended(request, NO_SUCH_LINK, status=404)
    except Conflict as error:
        return _ended(request, str(error.detail), status=410)


def _find(request: HttpRequest, token: str) -> Invitation:
    """Return the open invitation. Raises Http404, Conflict, and PausedError for an address that guesses."""
    attempt = brakes.begin(brakes.LINK.key(brakes.address_of(request)))
    try:
        found = find_invitation(token)
    except Http404:
        attempt.failed("Invitation with an unknown link", address=brakes.address_of(request))
        raise
    except Conflict:
        attempt.succeeded()
        raise
    attempt.succeeded()
    return found


def _for_user(request: HttpRequest, found: Invitation, token: str, user: User) -> HttpResponse:
    is_member = Membership.objects.filter(user=user, organization=found.organization).exists()
    context = {"is_member": is_member, "is_for_reader": is_for(found, user)}
    if request.method != "POST" or is_member:
        return _shown(request, found, context)
    try:
        accept(token, user)
    except PermissionDenied:
        return _shown(request, found, {**context, "is_for_reader": False}, status=403)
    return _welcome(request, found)


def _for_newcomer(request: HttpRequest, found: Invitation, token: str) -> HttpResponse:
    if not config_in_force().sign_in.has_local_passwords:
        return _shown(request, found, {}, status=403 if request.method == "POST" else 200)
    form = NewAccountForm(request.POST if request.method == "POST" else None)
    if found.email:
        del form.fields["email"]
    if request.method != "POST" or not form.is_valid():
        return _shown(request, found, {"form": form}, status=400 if request.method == "POST" else 200)
    values = form.cleaned_data
    try:
        user = accept_as_new(token, values["username"], values["password"], email=values.get("email", ""))
    except ValidationError as error:
        for name, sentences in error.message_dict.items():
            form.add_error(name if name in form.fields else None, sentences)
        return _shown(request, found, {"form": form}, status=400)
    perform_login(request, user, email_verification="none")
    return _welcome(request, found)


def _welcome(request: HttpRequest, found: Invitation) -> HttpResponse:
    messages.success(request, f"Welcome to {found.organization}. You are {found.get_role_display().lower()} here.")
    return HttpResponseRedirect(reverse("dashboard"))


def _shown(request: HttpRequest, found: Invitation, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    has_local_passwords = config_in_force().sign_in.has_local_passwords
    around = {"invitation": found, "here": request.get_full_path(), "has_local_passwords": has_local_passwords}
    return render(request, "dashboard/invitation.html", {**around, **context}, status=status)


def _ended(request: HttpRequest, sentence: str, *, status: int) -> HttpResponse:
    return render(request, "dashboard/invitation_ended.html", {"sentence": sentence}, status=status)
