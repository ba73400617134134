"""Every address, by room. The rooms are named, not imported: this room knows none of them."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from cloudtrain_site import errors
from cloudtrain_site.accounts import views as accounts
from cloudtrain_site.api_docs.page import SchemaView, api_page
from cloudtrain_site.compatibility.urls import urlpatterns as compatibility_urls
from cloudtrain_site.events.stream import event_stream
from cloudtrain_site.monitoring import health
from cloudtrain_site.monitoring.prometheus import PrometheusView

urlpatterns = [
    # First: thousands of browsers come back at once, and each address before it costs them a comparison.
    path("api/events", event_stream, name="events"),
    path("", include("approvals.urls")),
    path("", include("queueing.urls")),
    path("", include("jobs.urls")),
    path("", include("cloudtrain_site.accounts.urls")),
    path("api/account", accounts.Account.as_view(), name="account-settings"),
    path("api/cloud/health", health.HealthView.as_view(), name="health"),
    path("api/cloud/health/live", health.LiveView.as_view(), name="health-live"),
    path("api/cloud/health/ready", health.ReadyView.as_view(), name="health-ready"),
    path("api/cloud/metrics/prometheus", PrometheusView.as_view(), name="metrics-prometheus"),
    *compatibility_urls,
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", api_page, name="docs"),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.not_found
handler500 = errors.server_error
