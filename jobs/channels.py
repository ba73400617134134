"""The channels of the events about jobs."""

from __future__ import annotations

UNASSIGNED = "organization-none"


def organization_channel(organization_id: int | None) -> str:
    """Return the channel of an organization's jobs. Jobs without one have a channel for superusers alone."""
    return UNASSIGNED if organization_id is None else f"organization-{organization_id}"
