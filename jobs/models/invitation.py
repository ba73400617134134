"""Invitations into an organization."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.utils import timezone

from jobs.models.organization import Organization
from jobs.roles import Role


class Invitation(models.Model):
    """A link by which one person joins an organization, once. The link's token is stored as a digest alone."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="invitations")
    #: Only a person with this address may accept; empty: whoever has the link.
    email = models.EmailField(blank=True)
    role = models.CharField(max_length=20, choices=Role.choices)
    token_digest = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["-id"]
        constraints = [
            # Of an acceptance and a withdrawal at once, one.
            models.CheckConstraint(
                condition=models.Q(accepted_at=None) | models.Q(withdrawn_at=None), name="invitation_ends_once"
            ),
        ]

    def __str__(self) -> str:
        return f"invitation of {self.email or 'whoever has the link'} to {self.organization}"

    def state(self, now: datetime) -> str:
        """Return `accepted`, `withdrawn`, `expired` or `open`."""
        if self.accepted_at is not None:
            return "accepted"
        if self.withdrawn_at is not None:
            return "withdrawn"
        return "expired" if self.expires_at <= now else "open"
