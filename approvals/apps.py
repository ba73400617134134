"""The approvals room."""

from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Wires the room's receivers, and plugs it into the rooms below."""

    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        """Once every app's models are there."""
        from approvals import receivers, registrations  # noqa: F401 - the receivers connect themselves

        registrations.register_all()
