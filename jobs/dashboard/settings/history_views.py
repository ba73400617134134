"""The history of an organization: who changed what of it, when and from where."""

from __future__ import annotations

from django.http.response import HttpResponseBase

from jobs.dashboard.audit_list import AuditList
from jobs.dashboard.settings.frame import SettingsPage, settings_page

SECTION = "settings-history"


def _list_of(page: SettingsPage) -> AuditList:
    return AuditList(page.request.GET, page.organization.pk, page.organization.time_zone)


@settings_page(SECTION, "GET", "HEAD")
def history(page: SettingsPage) -> HttpResponseBase:
    """List the changes."""
    listed = _list_of(page)
    return page.render("settings/history.html", listed.context(), status=200 if listed.is_valid else 400)


@settings_page(SECTION, "GET", "HEAD")
def history_file(page: SettingsPage) -> HttpResponseBase:
    """Download the changes that the filters let through."""
    return _list_of(page).export(f"{page.organization.name}-history.csv")
