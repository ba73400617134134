"""The audit record of the whole site."""

from __future__ import annotations

from django.http.response import HttpResponseBase

from jobs.dashboard.audit_list import AuditList
from jobs.dashboard.site.frame import SitePage, site_page

SECTION = "site-audit"


@site_page(SECTION, "GET", "HEAD")
def audit(page: SitePage) -> HttpResponseBase:
    """List the changes."""
    listed = AuditList(page.request.GET)
    context = {**listed.context(), "of_site": True}
    return page.render("site/audit.html", context, status=200 if listed.is_valid else 400)


@site_page(SECTION, "GET", "HEAD")
def audit_file(page: SitePage) -> HttpResponseBase:
    """Download the changes that the filters let through."""
    return AuditList(page.request.GET).export("audit.csv")
