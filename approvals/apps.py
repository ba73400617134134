"""The approvals room."""

from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Wires the room's receivers."""

    name = "approvals"
    verbose_name = "Approvals"
