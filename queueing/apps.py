"""The queue room."""

from __future__ import annotations

from django.apps import AppConfig


class QueueingConfig(AppConfig):
    """Wires the room's receivers."""

    name = "queueing"
    verbose_name = "Queue"

    def ready(self) -> None:
        """Hear of jobs that began or ended, and tell the API of every job's place."""
        from cloudtrain_site.monitoring.prometheus import register_collector
        from jobs.dashboard.navigation import NavigationItem, register_item
        from jobs.extensions import Panel, register_facet, register_panel
        from jobs.signals import job_status_changed
        from queueing.dashboard.job_panel import panel_for
        from queueing.receivers import free_slot, keep_slot
        from queueing.statistics import collect
        from queueing.waiting.positions import positions_of

        job_status_changed.connect(free_slot, dispatch_uid="queueing.free_slot")
        job_status_changed.connect(keep_slot, dispatch_uid="queueing.keep_slot")
        register_facet("queueing", positions_of, 10)
        register_item(NavigationItem("Queue", "queue-page", order=20))
        register_item(NavigationItem("Metrics", "metrics-page", order=40))
        register_panel(Panel("queue", "queueing/_job_panel.html", 10, panel_for))
        register_collector("queue", collect)
