"""The site's app."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Connects what runs beside every request and task."""

    name = "cloudtrain_site"
    verbose_name = "Site"

    def ready(self) -> None:
        """Carry the correlation id into background tasks, check the configuration, and show that a worker lives."""
        from cloudtrain_site import api_schema, extensions  # noqa: F401 - the generator finds the first by itself
        from cloudtrain_site.background_tasks.heartbeats import connect_signs_of_life
        from cloudtrain_site.checks import register_checks
        from cloudtrain_site.correlation import connect_task_correlation
        from cloudtrain_site.monitoring.prometheus import collect_loops

        extensions.collectors.register("loops", collect_loops)
        housekeeping = extensions.LoopSpec("cloudtrain_site.tasks.housekeep", lambda: 3600.0)
        extensions.loops.register("housekeeping", housekeeping, order=50)
        connect_signs_of_life()
        connect_task_correlation()
        register_checks()
