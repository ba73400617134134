"""The roles of an organization's members."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models


class Role(models.TextChoices):
    """A member's standing in one organization, lowest first."""

    #: Sees the organization's jobs.
    VIEWER = "viewer"
    #: Submits jobs, and cancels, retries and deletes their own.
    RESEARCHER = "researcher"
    #: Does so with everybody's, decides about approvals, orders the queue.
    LEAD = "lead"
    #: Does what a lead does, and edits members, rules and limits.
    ADMIN = "admin"


RANK: Mapping[str, int] = {role: rank for rank, role in enumerate(Role)}
SUBMITTERS = (Role.RESEARCHER, Role.LEAD, Role.ADMIN)
MANAGERS = (Role.LEAD, Role.ADMIN)
