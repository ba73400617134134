"""The queue room."""

from __future__ import annotations

from django.apps import AppConfig


class QueueingConfig(AppConfig):
    """Wires the room's receivers, and plugs it into the rooms below."""

    name = "queueing"
    verbose_name = "Queue"

    def ready(self) -> None:
        """Once every app's models are there."""
        from queueing import receivers, registrations  # noqa: F401 - the receivers connect themselves

        registrations.register_all()
