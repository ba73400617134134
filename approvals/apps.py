"""The approvals room."""

from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Wires the room's receivers."""

    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        """Hear of ended jobs, and tell the API of every job's approval."""
        from approvals.facets import approvals_of
        from approvals.receivers import withdraw_request
        from jobs.facets import register
        from jobs.signals import job_status_changed

        job_status_changed.connect(withdraw_request, dispatch_uid="approvals.withdraw_request")
        register("approvals", approvals_of)
