"""The queueing room."""

from __future__ import annotations

from django.apps import AppConfig


class QueueingConfig(AppConfig):
    """Wires the room's receivers."""

    name = "queueing"
    verbose_name = "Queue"
