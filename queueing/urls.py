"""Addresses of the queue room."""

from __future__ import annotations

from django.urls import path

from jobs.views import CancelJob
from queueing import views

urlpatterns = [
    path("api/queue", views.QueueList.as_view(), name="queue-list"),
    path("api/queue/me", views.MyQueue.as_view(), name="queue-me"),
    path("api/queue/concurrency", views.Concurrency.as_view(), name="queue-concurrency"),
    path("api/queue/position/<str:job_id>", views.QueuePosition.as_view(), name="queue-position"),
    path("api/queue/<str:job_id>/cancel", CancelJob.as_view(), name="queue-cancel"),
    path("api/queue/<str:job_id>/priority", views.SetPriority.as_view(), name="queue-priority"),
]
