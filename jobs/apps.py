"""The jobs room."""

from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Wires the room's receivers."""

    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Hear of people whose rights change, and tell the health of webhooks that don't arrive."""
        from django.contrib.auth.models import User
        from django.contrib.auth.signals import user_logged_out
        from django.db.models.signals import post_delete, post_save

        from cloudtrain_site.models import ApiKey
        from cloudtrain_site.monitoring.components import register_component
        from cloudtrain_site.monitoring.prometheus import register_collector
        from jobs import receivers
        from jobs.dashboard.navigation import NavigationItem, register_item
        from jobs.health import lost_webhooks, replicate_outage
        from jobs.metrics import collect
        from jobs.models import Membership

        for signal in (post_save, post_delete):
            signal.connect(
                receivers.membership_changed, sender=Membership, dispatch_uid=f"jobs.membership.{id(signal)}"
            )
        post_delete.connect(receivers.key_revoked, sender=ApiKey, dispatch_uid="jobs.key_revoked")
        user_logged_out.connect(receivers.logged_out, dispatch_uid="jobs.logged_out")
        post_save.connect(receivers.user_changed, sender=User, dispatch_uid="jobs.user_changed")
        register_component("webhooks", lost_webhooks, well="None is known to be lost.")
        register_component("replicate", replicate_outage, well="No outage is known.")
        register_collector("jobs", collect)
        register_item(NavigationItem("Jobs", "dashboard", order=10))
