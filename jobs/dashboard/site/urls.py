"""The addresses of the site's pages."""

from __future__ import annotations

from django.urls import path

from jobs.dashboard.site import audit_views, frame

urlpatterns = [
    path("site", frame.site, name="site"),
    path("site/audit", audit_views.audit, name="site-audit"),
    path("site/audit.csv", audit_views.audit_file, name="site-audit-file"),
]
