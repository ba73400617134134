"""The addresses of the site's pages."""

from __future__ import annotations

from django.urls import path

from jobs.dashboard.site import audit_views, doctor_views, frame, organization_views, people_views

ORGANIZATION = "site/organizations/<slug:organization>"

urlpatterns = [
    path("site", frame.site, name="site"),
    path("site/organizations", organization_views.organizations, name="site-organizations"),
    path(ORGANIZATION, organization_views.organization, name="site-organization"),
    path(f"{ORGANIZATION}/close", organization_views.close_organization, name="site-close-organization"),
    path(f"{ORGANIZATION}/reopen", organization_views.reopen_organization, name="site-reopen-organization"),
    path(f"{ORGANIZATION}/delete", organization_views.remove_organization, name="site-delete-organization"),
    path("site/people", people_views.people, name="site-people"),
    path("site/people/<int:user_id>", people_views.person, name="site-person"),
    path("site/people/<int:user_id>/active", people_views.set_active, name="site-set-active"),
    path("site/people/<int:user_id>/superuser", people_views.set_superuser, name="site-set-superuser"),
    path("site/people/<int:user_id>/export", people_views.export, name="site-export-person"),
    path("site/people/<int:user_id>/removal", people_views.removal, name="site-remove-person"),
    path("site/audit", audit_views.audit, name="site-audit"),
    path("site/checks", doctor_views.doctor, name="site-doctor"),
    path("site/audit.csv", audit_views.audit_file, name="site-audit-file"),
]
