"""The addresses of the jobs' room for SimpleTuner's command line. docs/simpletuner.md has its commands."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.compatibility.elsewhere import elsewhere
from cloudtrain_site.compatibility.urls import webhook_urlpatterns
from jobs.compatibility import audit_views, job_views, log_stream, metric_views, organization_views, people_views

REPLICATE_ACCESS = (
    "The token of Replicate is the environment variable REPLICATE_API_TOKEN of the site's processes, or `token` of an "
    "account in the configuration file: docs/providers.md. It is never stored."
)

urlpatterns = [
    path("api/cloud/jobs/<str:job_id>/logs/stream", log_stream.log_stream, name="job-log-stream"),
    elsewhere("api/cloud/replicate/token", "token", REPLICATE_ACCESS),
    path("api/cloud/data-consent/preview", job_views.DataPreview.as_view(), name="data-preview"),
    path("api/metrics/status", metric_views.MetricsStatus.as_view(), name="metrics-status"),
    path("api/metrics/health", metric_views.MetricsHealth.as_view(), name="metrics-health"),
    path("api/metrics/prometheus", metric_views.PrometheusText.as_view(), name="metrics-text"),
    path("api/metrics/prometheus/info", metric_views.PrometheusInfo.as_view(), name="metrics-info"),
    path("api/metrics/costs", metric_views.MetricsCosts.as_view(), name="metrics-costs"),
    path("api/metrics/usage", metric_views.MetricsUsage.as_view(), name="metrics-usage"),
    path("api/users", people_views.People.as_view(), name="users"),
    path("api/users/me", people_views.Me.as_view(), name="users-me"),
    path("api/users/meta/levels", people_views.Levels.as_view(), name="users-levels"),
    path("api/users/meta/auth-status", people_views.AuthStatus.as_view(), name="users-status"),
    path("api/users/<int:user_id>", people_views.Person.as_view(), name="user"),
    path("api/users/<int:user_id>/activate", people_views.PersonActive.as_view(), name="user-activate"),
    path("api/users/<int:user_id>/deactivate", people_views.PersonActive.as_view(active=False), name="user-deactivate"),
    path("api/users/<int:user_id>/levels", people_views.PersonLevels.as_view(), name="user-levels"),
    # Last of them: whatever else is asked about people.
    elsewhere("api/users/", "people", people_views.OTHER_WAYS),
    path("api/orgs", organization_views.Organizations.as_view(), name="orgs"),
    path("api/orgs/<int:organization_id>", organization_views.OneOrganization.as_view(), name="org"),
    path("api/orgs/<int:organization_id>/members", organization_views.Members.as_view(), name="org-members"),
    path(
        "api/orgs/<int:organization_id>/members/<int:user_id>",
        organization_views.OneMember.as_view(),
        name="org-member",
    ),
    elsewhere("api/orgs/<int:organization_id>/teams", "teams", organization_views.TEAMS),
    path("api/audit", audit_views.Audit.as_view(), name="audit"),
    path("api/audit/stats", audit_views.AuditStats.as_view(), name="audit-stats"),
    path("api/audit/types", audit_views.AuditTypes.as_view(), name="audit-types"),
    path("api/audit/security", audit_views.AuditOfSecurity.as_view(), name="audit-security"),
    path("api/audit/user/<int:user_id>", audit_views.AuditOfUser.as_view(), name="audit-user"),
    elsewhere("api/audit/verify", "audit-verify", audit_views.NO_CHAIN),
    *webhook_urlpatterns,
]
