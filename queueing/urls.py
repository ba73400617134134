"""Addresses of the queue room."""

from __future__ import annotations

from django.urls import path

from jobs.api.views import CancelJob
from queueing.api import control_views, views
from queueing.dashboard import metrics_views, queue_views

urlpatterns = [
    path("queue", queue_views.queue_page, name="queue-page"),
    path("queue/now", queue_views.queue_now, name="queue-now"),
    path("metrics", metrics_views.metrics_page, name="metrics-page"),
    path("metrics/now", metrics_views.metrics_now, name="metrics-now"),
    path("api/queue", views.QueueList.as_view(), name="queue-list"),
    path("api/queue/me", views.MyQueue.as_view(), name="queue-me"),
    path("api/queue/stats", views.Statistics.as_view(), name="queue-stats"),
    path("api/queue/concurrency", control_views.Concurrency.as_view(), name="queue-concurrency"),
    path("api/queue/process", control_views.Process.as_view(), name="queue-process"),
    path("api/queue/cleanup", control_views.Cleanup.as_view(), name="queue-cleanup"),
    path("api/queue/pause", control_views.SetPaused.as_view(paused=True), name="queue-pause"),
    path("api/queue/resume", control_views.SetPaused.as_view(paused=False), name="queue-resume"),
    path("api/queue/position/<str:job_id>", views.QueuePosition.as_view(), name="queue-position"),
    path("api/queue/<str:job_id>/cancel", CancelJob.as_view(), name="queue-cancel"),
    path("api/queue/<str:job_id>/priority", views.SetPriority.as_view(), name="queue-priority"),
    path("api/queue/<str:job_id>/resubmit", views.Resubmit.as_view(), name="queue-resubmit"),
    path("api/queue/<str:job_id>/give-up", views.GiveUp.as_view(), name="queue-give-up"),
]
