"""The site's app."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "cloudtrain_site"
    verbose_name = "Site"

    def ready(self) -> None:
        """Plug the site's own parts into its registries, and connect them to requests and tasks."""
        from cloudtrain_site import extensions
        from cloudtrain_site.accounts import receivers  # noqa: F401 - they connect themselves
        from cloudtrain_site.api_docs import schema  # noqa: F401 - importing it registers its extension
        from cloudtrain_site.audit.origin import connect_origins
        from cloudtrain_site.background_tasks.heartbeats import connect_heartbeats
        from cloudtrain_site.backups.registrations import register_backups
        from cloudtrain_site.checks import register_checks
        from cloudtrain_site.correlation import connect_task_correlation
        from cloudtrain_site.database.folding import register_folding
        from cloudtrain_site.doctor import health as checks_health
        from cloudtrain_site.doctor.registrations import register_checks as register_doctor
        from cloudtrain_site.monitoring import machines
        from cloudtrain_site.monitoring.prometheus import collect_loops
        from cloudtrain_site.people.registrations import register_people
        from cloudtrain_site.retention.registrations import register_kept

        extensions.collectors.register("loops", collect_loops)
        words = {
            "processes": "silent processes removed",
            "brakes": "old counts of failed sign-ins removed",
            "overdue_sessions": "sessions ended",
        }
        housekeeping = extensions.LoopSpec("cloudtrain_site.tasks.housekeep", lambda: 3600.0, counts=words)
        extensions.health_components.register(
            "machines", extensions.HealthComponent(machines.warning, well="All machines send heartbeats.")
        )
        extensions.loops.register("housekeeping", housekeeping, order=50)
        register_kept()
        register_backups()
        register_people()
        connect_heartbeats()
        connect_origins()
        connect_task_correlation()
        register_checks()
        register_doctor()
        extensions.health_components.register(
            "deployment", extensions.HealthComponent(checks_health.warning, well=checks_health.WELL)
        )
        register_folding()
