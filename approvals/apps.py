"""The approvals app."""

from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Connects the receivers, and registers the extensions of the rooms below."""

    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        from approvals import receivers, registrations  # noqa: F401 - the receivers connect themselves

        registrations.register_all()
