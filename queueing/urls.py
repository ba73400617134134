"""Addresses of the queue."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from queueing.api import budget_views, control_views, views
from queueing.compatibility import provider_views, quota_views
from queueing.dashboard import limits_views, metrics_views, queue_views
from queueing.dashboard.budgets import settings_views as budget_settings
from queueing.dashboard.budgets import views as budget_pages
from queueing.dashboard.spend import views as spend_views

# Two viewsets share one address, and a router refuses a second one of the same name. The controls come first: none of
# their names is a job's id.
controls = SimpleRouter(trailing_slash=False, use_regex_path=False)
controls.register("api/queue", control_views.QueueControlViewSet, "queue")
queue = SimpleRouter(trailing_slash=False, use_regex_path=False)
queue.register("api/queue", views.QueueViewSet, "queue")
queue.register("api/cloud/budgets", budget_views.BudgetViewSet, "budget")

urlpatterns = [
    path("queue", queue_views.queue_page, name="queue-page"),
    path("queue/now", queue_views.queue_now, name="queue-now"),
    path("spend", spend_views.spend_page, name="spend-page"),
    path("spend/now", spend_views.spend_now, name="spend-now"),
    path("metrics", metrics_views.metrics_page, name="metrics-page"),
    path("metrics/now", metrics_views.metrics_now, name="metrics-now"),
    path("organizations/<slug:organization>/settings/limits", limits_views.limits, name="settings-limits"),
    path("organizations/<slug:organization>/settings/budgets", budget_settings.budgets, name="settings-budgets"),
    path("budgets", budget_pages.budgets, name="budgets-page"),
    path("budgets/new", budget_pages.new_budget, name="new-budget"),
    path("budgets/<int:budget_id>", budget_pages.budget, name="budget-page"),
    path("budgets/<int:budget_id>/remove", budget_pages.remove_budget, name="remove-budget"),
    path("api/cloud/providers/<str:name>/config", provider_views.ProviderConfigView.as_view(), name="provider-config"),
    path("api/quotas", quota_views.Quotas.as_view(), name="quotas"),
    path("api/quotas/status", quota_views.QuotaStatus.as_view(), name="quota-status"),
    path("api/quotas/types", quota_views.QuotaTypes.as_view(), name="quota-types"),
    path("api/quotas/<int:budget_id>", quota_views.OneQuota.as_view(), name="quota"),
    path("api/orgs/<int:organization_id>/quotas", quota_views.OrganizationQuotas.as_view(), name="organization-quotas"),
    *controls.urls,
    *queue.urls,
]
