"""The service accounts of an organization, and their keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.http import Http404, HttpResponse

from cloudtrain_site.accounts.api_keys import keys_of
from cloudtrain_site.models import Scope
from cloudtrain_site.names import readable_name
from jobs.dashboard.account_views import LIFETIMES, TICKED
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import ServiceAccount
from jobs.models.service_account import LABEL
from jobs.organizations import service_accounts
from jobs.roles import Role

SECTION = "settings-service-accounts"
ACCOUNT = "settings-service-account"
DEFAULT_DAYS = 365


class ServiceAccountForm(forms.Form):
    name = forms.CharField(
        max_length=40,
        validators=[LABEL],
        help_text="Lower-case letters, digits and . _ -. Its jobs show ORGANIZATION:NAME as the submitter.",
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": "nightly"}),
    )
    role = forms.ChoiceField(
        choices=Role.choices, initial=Role.RESEARCHER, widget=forms.Select(attrs={"class": "input"})
    )


class ServiceKeyForm(forms.Form):
    name = forms.CharField(
        label="Name",
        max_length=100,
        validators=[readable_name],
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": "the build server"}),
    )
    scopes = forms.MultipleChoiceField(
        label="Scopes",
        choices=[(scope.value, f"{scope}: {scope.label}") for scope in Scope],
        initial=list(TICKED),
        widget=forms.CheckboxSelectMultiple,
    )
    days = forms.TypedChoiceField(
        label="Valid for",
        choices=LIFETIMES,
        coerce=int,
        initial=DEFAULT_DAYS,
        widget=forms.Select(attrs={"class": "input"}),
    )


@settings_page(SECTION)
def accounts(page: SettingsPage) -> HttpResponse:
    """List the service accounts, and make one."""
    form = ServiceAccountForm(page.request.POST if page.is_post else None)
    if page.is_post and form.is_valid():
        name, role = form.cleaned_data["name"], Role(form.cleaned_data["role"])
        made = service_accounts.make_service_account(page.organization, name, role, by=page.user)
        done = f"The service account {made} was created. Create a key for it here."
        return page.done(done, page.address(ACCOUNT, account=made.name))
    context = {"accounts": service_accounts.service_accounts_of(page.organization), "form": form}
    return page.render("settings/service_accounts.html", context, status=400 if page.is_post else 200)


@settings_page(SECTION)
def account(page: SettingsPage, account: str) -> HttpResponse:
    """Show a service account and its keys, and make a key, which this answer alone shows."""
    found = service_accounts.find_service_account(page.organization, account)
    form = ServiceKeyForm(page.request.POST if page.is_post else None)
    if not page.is_post or not form.is_valid():
        return _shown(page, found, {"form": form}, status=400 if page.is_post else 200)
    values = form.cleaned_data
    row, key = service_accounts.make_service_key(
        found, values["name"], timedelta(days=values["days"]), scopes=values["scopes"], by=page.user
    )
    return _shown(page, found, {"form": ServiceKeyForm(), "made": row, "key": key}, status=201)


def _shown(page: SettingsPage, found: ServiceAccount, context: dict[str, Any], *, status: int) -> HttpResponse:
    around = {"account": found, "keys": keys_of(found.user), "role_label": Role(found.role).label}  # type: ignore[attr-defined]
    return page.render("settings/service_account.html", {**around, **context}, status=status)


@settings_page(SECTION, "POST")
def remove(page: SettingsPage, account: str) -> HttpResponse:
    found = service_accounts.find_service_account(page.organization, account)
    service_accounts.remove_service_account(found, by=page.user)
    return page.done(f"The service account {found} was removed and its keys revoked. Its jobs continue.")


@settings_page(SECTION, "POST")
def revoke(page: SettingsPage, account: str, key_id: str) -> HttpResponse:
    found = service_accounts.find_service_account(page.organization, account)
    if not service_accounts.revoke_service_key(found, key_id, by=page.user):
        raise Http404
    return page.done("Key revoked.", page.address(ACCOUNT, account=found.name))
