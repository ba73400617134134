"""The organizations of the site: made, renamed, closed, reopened, deleted."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404

from jobs.dashboard.form_pages import stamp_of
from jobs.dashboard.site.frame import SitePage, pages_of, site_page
from jobs.models import Organization
from jobs.organizations.endings import (
    RunningJobs,
    close,
    create_organization,
    delete_organization,
    rename,
    reopen,
    what_deletion_takes,
)
from jobs.organizations.overview import organizations_by_name

SECTION = "site-organizations"


class NameForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        help_text="Letters, digits, hyphens and underscores. The name is part of addresses.",
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "spellcheck": "false"}),
    )


class CloseForm(forms.Form):
    running = forms.ChoiceField(
        choices=RunningJobs.choices,
        initial=RunningJobs.FINISH,
        label="Jobs at a provider",
        widget=forms.RadioSelect,
    )


@site_page(SECTION)
def organizations(page: SitePage) -> HttpResponse:
    """List the organizations, and make one."""
    form = NameForm(page.request.POST if page.is_post else None)
    if page.is_post and form.is_valid():
        try:
            made = create_organization(form.cleaned_data["name"], by=page.user)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return page.done(f"The organization {made} was created. Invite its first admin.", page.members_of(made))
    listed = pages_of(page.request, organizations_by_name(page.search))
    return page.render("site/organizations.html", {"form": form, **listed}, status=400 if page.is_post else 200)


@site_page(SECTION)
def organization(page: SitePage, organization: str) -> HttpResponse:
    """Show an organization with all that can be done to it, and rename it."""
    found = _find(organization)
    former = found.name
    form = NameForm(page.request.POST if page.is_post else None, initial={"name": former})
    if page.is_post and form.is_valid():
        try:
            rename(found, form.cleaned_data["name"], by=page.user)
        except ValidationError as error:
            found.name = former
            form.add_error(None, error)
        else:
            return page.done(f"The organization is called {found}.", _address(page, found))
    return _shown(page, found, form, CloseForm())


@site_page(SECTION, "POST")
def close_organization(page: SitePage, organization: str) -> HttpResponse:
    found = _find(organization)
    form = CloseForm(page.request.POST)
    if not form.is_valid():
        return _shown(page, found, NameForm(initial={"name": found.name}), form)
    cancelled = close(found, by=page.user, running=RunningJobs(form.cleaned_data["running"]))
    jobs = f" {cancelled} job{'' if cancelled == 1 else 's'} cancelled." if cancelled else ""
    return page.done(f"The organization {found} is closed.{jobs}", _address(page, found))


@site_page(SECTION, "POST")
def reopen_organization(page: SitePage, organization: str) -> HttpResponse:
    found = _find(organization)
    reopen(found, by=page.user)
    return page.done(f"The organization {found} is open again. Members keep their roles.", _address(page, found))


@site_page(SECTION, "POST")
def remove_organization(page: SitePage, organization: str) -> HttpResponse:
    """Delete an organization that nothing keeps, if the page that was seen listed what goes with it."""
    found = _find(organization)
    page.check_stamp(what_deletion_takes(found).takes)
    delete_organization(found, by=page.user)
    return page.done(f"Organization {organization} deleted.")


def _find(name: str) -> Organization:
    return get_object_or_404(organizations_by_name(), name=name)


def _address(page: SitePage, found: Organization) -> str:
    return page.address("site-organization", organization=found.name)


def _shown(page: SitePage, found: Organization, form: NameForm, close_form: CloseForm) -> HttpResponse:
    deletion = what_deletion_takes(found)
    context: dict[str, Any] = {
        "organization": found,
        "form": form,
        "close_form": close_form,
        "deletion": deletion,
        "deletion_stamp": stamp_of(deletion.takes),
    }
    return page.render("site/organization.html", context, status=400 if page.is_post else 200)
