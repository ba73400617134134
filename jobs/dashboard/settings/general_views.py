"""The general settings of an organization: time zone, defaults of a new job, second factor."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse, QueryDict

from cloudtrain_site.accounts.preferences import time_zones
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.dashboard.form_pages import stamp_of
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Organization
from jobs.organizations.authority import lock_organization
from jobs.organizations.settings import FALLBACK_PROVIDER, SETTINGS, change_organization
from jobs.permissions import is_superuser
from jobs.providers import get_provider, label_of, names

SECTION = "settings-general"


class GeneralForm(forms.Form):
    """The choices are those of this moment; the verb checks them."""

    time_zone = forms.ChoiceField(
        help_text="Days and months of costs and budgets follow this time zone.",
        widget=forms.Select(attrs={"class": "input"}),
    )
    default_provider = forms.ChoiceField(
        required=False,
        help_text="The default provider of new jobs.",
        widget=forms.Select(attrs={"class": "input"}),
    )
    default_hardware = forms.ChoiceField(
        required=False,
        help_text="The default hardware of new jobs, a profile of that provider.",
        widget=forms.Select(attrs={"class": "input"}),
    )
    second_factor_required = forms.BooleanField(
        required=False,
        label="Require a second factor",
        help_text="Members without one must set it up first.",
    )

    def __init__(self, data: QueryDict | None, organization: Organization) -> None:
        super().__init__(data, initial={name: getattr(organization, name) for name in SETTINGS})
        choices: dict[str, Any] = {
            "time_zone": [(name, name) for name in time_zones()],
            "default_provider": [("", f"{label_of(FALLBACK_PROVIDER)} (the site’s)"), *_providers(organization)],
            "default_hardware": [("", "the provider’s default"), *_hardware(organization)],
        }
        for name, of_field in choices.items():
            self.fields[name].choices = of_field  # type: ignore[attr-defined]


def _providers(organization: Organization) -> list[tuple[str, str]]:
    """Return the providers, with the organization's default also when the site has it no more."""
    choices = {name: label_of(name) for name in names()}
    present = organization.default_provider
    return [*({present: f"{present} (gone)"} | choices if present else choices).items()]


def _hardware(organization: Organization) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the profiles by provider, with the organization's default also when no provider has it any more."""
    profiles = {label_of(name): list(get_provider(name).hardware()) for name in names()}
    present = organization.default_hardware
    if present and not any(present in of_provider for of_provider in profiles.values()):
        profiles["Gone"] = [present]
    return [(label, [(profile, profile) for profile in of_provider]) for label, of_provider in profiles.items()]


@settings_page(SECTION)
def general(page: SettingsPage) -> HttpResponse:
    """Show the settings, and change them."""
    form = GeneralForm(page.request.POST if page.is_post else None, page.organization)
    if page.is_post and form.is_valid():
        try:
            return _store(page, form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
    context = {"form": form, "stamp": stamp_of(*_values(page.organization)), "runs_site": is_superuser(page.user)}
    return page.render("settings/general.html", context, status=400 if page.is_post else 200)


def _values(organization: Organization) -> list[Any]:
    return [getattr(organization, name) for name in SETTINGS]


def _store(page: SettingsPage, values: dict[str, Any]) -> HttpResponse:
    """Store them. Raises StaleError when somebody else changed one, and ValidationError."""
    with unit_of_work():
        page.check_stamp(*_values(lock_organization(page.organization)))
        is_changed = change_organization(page.organization, values, by=page.user)
    return page.done("Settings saved." if is_changed else "No changes.")
