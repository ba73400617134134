"""The addresses of the pages of notices."""

from __future__ import annotations

from django.urls import path

from jobs.dashboard.notices import organization_views, own_views

SETTINGS = "organizations/<slug:organization>/settings/notices"

urlpatterns = [
    path("notices", own_views.notices, name="notices"),
    path("notices/mail", own_views.mail, name="notices-mail"),
    path("notices/browser", own_views.browser, name="notices-browser"),
    path("notices/job-secret", own_views.job_secret, name="notices-job-secret"),
    path("notices/channels/<int:channel_id>", own_views.channel, name="notices-channel"),
    path("notices/deliveries", own_views.deliveries, name="notices-deliveries"),
    path(SETTINGS, organization_views.notices, name="settings-notices"),
    path(f"{SETTINGS}/deliveries", organization_views.deliveries, name="settings-notices-deliveries"),
    path(f"{SETTINGS}/<int:channel_id>", organization_views.channel, name="settings-notices-channel"),
]
