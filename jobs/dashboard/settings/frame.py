"""The frame of an organization's settings: who sees a section, and how its forms are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from jobs import extensions
from jobs.dashboard.form_pages import READ_AND_WRITE, Answer, FormPage, answer_with, for_signed_in
from jobs.dashboard.navigation import page, page_context
from jobs.models import Organization
from jobs.permissions import AnyUser, Team, organizations_of, role_in, teams_of
from jobs.roles import Role

#: The switcher lists no more organizations: a superuser finds the others on the page of all of them.
MAX_SWITCHES = 20


@dataclass(frozen=True, slots=True)
class SettingsPage(FormPage):
    """A request for a section of an organization's settings, by somebody who may see the section."""

    organization: Organization
    role: Role
    section: str

    @property
    def administers(self) -> bool:
        return self.role == Role.ADMIN

    def require_admin(self) -> None:
        """Raise PermissionDenied for a reader who is no admin of the organization."""
        if not self.administers:
            raise PermissionDenied(only_admins(self.organization))

    def address(self, name: str = "", **parts: Any) -> str:
        """Return the address of a page of these settings; without a name, of the section."""
        return reverse(name or self.section, kwargs={"organization": self.organization.name, **parts})

    def render(self, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        around = page_context(self.request)
        frame = {
            "organization": self.organization,
            "role": self.role,
            "is_admin": self.administers,
            "sections": _sections_for(self),
            "section": extensions.settings_sections[self.section],
            "others": _others(self, around["own_teams"]),
        }
        return render(self.request, template, {**around, **frame, **context}, status=status)


def settings_page(section: str, *methods: str) -> Callable[[Answer], Answer]:
    """Decorate a page of the registered section: `view(page, ...)` answers the methods, without any GET and POST.

    Strangers get 404, members who may not see the section 403. What a verb refuses is shown on the section's page.
    """

    def decorate(view: Answer) -> Answer:
        @wraps(view)
        def answer(request: HttpRequest, organization: str, **parts: Any) -> HttpResponseBase:
            return answer_with(view, _open(request, organization, section), parts, only_post=methods == ("POST",))

        return for_signed_in(answer, READ_AND_WRITE if methods == ("POST",) else methods)

    return decorate


def _open(request: HttpRequest, name: str, section: str) -> SettingsPage:
    organization = organizations_of(request.user).filter(name=name).first()
    role = role_in(request.user, organization) if organization else None
    if organization is None or role is None:
        raise Http404
    shown = SettingsPage(request, organization, role, section)
    if not extensions.settings_sections[section].for_members:
        shown.require_admin()
    return shown


def only_admins(organization: Organization) -> str:
    return f"Only admins of {organization} can see this page. The members page lists them."


def _sections_for(shown: SettingsPage) -> list[dict[str, Any]]:
    return [
        {"label": section.label, "address": shown.address(name), "is_here": name == shown.section}
        for name, section in extensions.settings_sections.items()
        if shown.administers or section.for_members
    ]


def _others(shown: SettingsPage, teams: list[Team]) -> list[dict[str, str]]:
    """Return the reader's other organizations, each with this section's address there if the reader may see it."""
    for_members = extensions.settings_sections[shown.section].for_members
    others = [team for team in teams if team.id != shown.organization.pk][:MAX_SWITCHES]
    return [
        {
            "name": team.name,
            "address": reverse(
                shown.section if for_members or team.role == Role.ADMIN else "settings-of",
                kwargs={"organization": team.name},
            ),
        }
        for team in others
    ]


def for_admins(user: AnyUser, teams: Sequence[Team]) -> int | None:
    """Return whether the settings are among the navigation's items, see `jobs.extensions.Count`."""
    return 0 if any(team.role == Role.ADMIN for team in teams) else None


@page
def settings(request: HttpRequest) -> HttpResponse:
    """Lead to the settings of the first organization that the reader administers, or else belongs to."""
    teams = teams_of(request.user)
    first = next((team for team in teams if team.role == Role.ADMIN), teams[0] if teams else None)
    if first is None:
        raise PermissionDenied("You aren't in an organization yet. An admin of one can invite you.")
    return redirect("settings-of", organization=first.name)


@page
def settings_of(request: HttpRequest, organization: str) -> HttpResponse:
    """Lead to the first section that the reader may see."""
    found = organizations_of(request.user).filter(name=organization).first()
    if found is None:
        raise Http404
    is_admin = role_in(request.user, found) == Role.ADMIN
    sections = extensions.settings_sections
    return redirect(
        next(name for name, section in sections.items() if is_admin or section.for_members), organization=found.name
    )
