"""The last number that a job of an organization was given."""

from __future__ import annotations

from django.db import models

from jobs.models.organization import Organization


class RunCounter(models.Model):
    """One organization's counter, a row of its own: who counts doesn't wait for who changes the organization."""

    organization = models.OneToOneField(Organization, models.CASCADE, primary_key=True, related_name="+")
    last = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"#{self.last} of {self.organization_id}"
