"""The queueing app."""

from __future__ import annotations

from django.apps import AppConfig


class QueueingConfig(AppConfig):
    """Connects the receivers, and registers the extensions of the rooms below."""

    name = "queueing"
    verbose_name = "Queue"

    def ready(self) -> None:
        from queueing import receivers, registrations  # noqa: F401 - the receivers connect themselves

        registrations.register_all()
