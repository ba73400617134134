"""What `manage.py check` says about the configuration."""

from __future__ import annotations


def register_checks() -> None:
    """Register them; to be called once, when the apps are ready."""
