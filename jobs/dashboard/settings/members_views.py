"""The members of an organization."""

from __future__ import annotations

from django.http import HttpResponse

from jobs.dashboard.settings.frame import SettingsPage, settings_page


@settings_page("settings-members", "GET", "HEAD")
def members(page: SettingsPage) -> HttpResponse:
    """List the members."""
    memberships = page.organization.memberships.select_related("user").order_by("user__username")
    return page.render("settings/members.html", {"memberships": memberships})
