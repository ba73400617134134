"""The jobs room."""

from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Wires the room's receivers, and plugs it into the rooms below."""

    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Once every app's models are there."""
        from jobs import receivers, registrations  # noqa: F401 - the receivers connect themselves

        registrations.register_all()
