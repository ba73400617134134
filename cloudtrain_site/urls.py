"""Every address, by room. The rooms are named, not imported: this room knows none of them."""

from __future__ import annotations

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from cloudtrain_site import errors
from cloudtrain_site.accounts import views as accounts
from cloudtrain_site.events.stream import event_stream
from cloudtrain_site.monitoring import health
from cloudtrain_site.monitoring.prometheus import PrometheusView

# The page sets its few styles in itself. What DRF answers to OPTIONS is no page, and its template can't show it.
api_docs = csp_update({"style-src": [SELF, UNSAFE_INLINE]})(
    SpectacularSwaggerSplitView.as_view(url_name="schema", metadata_class=None)
)

urlpatterns = [
    path("", include("approvals.urls")),
    path("", include("queueing.urls")),
    path("", include("jobs.urls")),
    path("", include("cloudtrain_site.accounts.urls")),
    path("api/events", event_stream, name="events"),
    path("api/account", accounts.Account.as_view(), name="account-settings"),
    path("api/cloud/health", health.HealthView.as_view(), name="health"),
    path("api/cloud/health/live", health.LiveView.as_view(), name="health-live"),
    path("api/cloud/health/ready", health.ReadyView.as_view(), name="health-ready"),
    path("api/cloud/metrics/prometheus", PrometheusView.as_view(), name="metrics-prometheus"),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs", api_docs, name="docs"),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.not_found
handler500 = errors.server_error
