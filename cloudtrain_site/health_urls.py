"""Addresses below /api/cloud/health."""

from __future__ import annotations

from django.urls import path

from cloudtrain_site.monitoring.health import HealthView, LiveView, ReadyView

urlpatterns = [
    path("", HealthView.as_view(), name="health"),
    path("/live", LiveView.as_view(), name="health-live"),
    path("/ready", ReadyView.as_view(), name="health-ready"),
]
