"""The jobs room."""

from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Wires the room's receivers."""

    name = "jobs"
    verbose_name = "Jobs"
