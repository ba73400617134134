"""The approvals room."""

from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Wires the room's receivers."""

    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        """Hear of ended jobs, tell the API of every job's approval, and have a say before a job starts."""
        from approvals.dashboard.facet import approvals_of, holds_on
        from approvals.dashboard.job_panel import panel_for
        from approvals.dashboard.views import EVENTS, count_to_decide
        from approvals.dispatch_guard import asked_about, is_what_was_approved
        from approvals.health import warning
        from approvals.notifications import ALL
        from approvals.receivers import withdraw_request
        from cloudtrain_site.accounts.preferences import register_mail
        from cloudtrain_site.monitoring.components import register_component
        from jobs.dashboard.navigation import NavigationItem, register_item
        from jobs.extensions import Panel, register_facet, register_panel
        from jobs.signals import job_status_changed
        from queueing import extensions

        job_status_changed.connect(withdraw_request, dispatch_uid="approvals.withdraw_request")
        register_facet("approvals", approvals_of, 20)
        extensions.register_guard("approvals", is_what_was_approved, asked_about)
        extensions.register_holds("approvals", holds_on)
        register_component("approvals", warning, well="Every pending request has people who may decide.")
        register_panel(Panel("approval", "approvals/_job_panel.html", 20, panel_for))
        register_item(NavigationItem("Approvals", "approvals-page", 30, count_to_decide, of="to decide", events=EVENTS))
        for kind in ALL:
            register_mail(kind)
