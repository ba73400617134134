"""Organizations, and their members."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from cloudtrain_site.accounts.preferences import time_zones
from jobs.roles import Role


def validate_time_zone(name: str) -> None:
    """Raises ValidationError for a name that no time zone has."""
    if name not in time_zones():
        raise ValidationError(f"There is no time zone “{name}”. One is Europe/Berlin, for example.")


class Organization(models.Model):
    """A team: its members see each other's jobs and share its limits."""

    name = models.SlugField(max_length=100, unique=True)
    max_running = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many of its jobs can run at once. Empty: the general limit."
    )
    second_factor_required = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Members without a second factor must set one up first.",
    )
    time_zone = models.CharField(
        max_length=60,
        default="UTC",
        db_default="UTC",
        validators=[validate_time_zone],
        help_text="Days and months of costs and budgets follow this time zone.",
    )
    default_provider = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text="The provider of jobs that name none. Empty: local.",
    )
    default_hardware = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text="The hardware profile of jobs at that provider that name none. Empty: the provider's default.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    #: A closed organization's members see its jobs, and submit none.
    closed_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_closed(self) -> bool:
        return self.closed_at is not None


class Membership(models.Model):
    """A user's role in one organization."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.RESEARCHER)
    #: null: before this was recorded.
    joined_at = models.DateTimeField(default=timezone.now, null=True, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["user", "organization"], name="one_membership_each")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.organization}"
