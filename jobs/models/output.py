"""Results that are fetched from a provider which deletes them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class OutputFetch(models.Model):
    """The copying of what one training made. There is one from the end of the training on."""

    class Status(models.TextChoices):
        PENDING = "pending"
        COMPLETE = "complete"
        FAILED = "failed"

    job = models.OneToOneField("jobs.Job", models.CASCADE, primary_key=True, related_name="output_fetch")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    #: What the training made: addresses, or a text.
    sources = models.JSONField(default=list)
    #: How many of the sources are here.
    fetched = models.PositiveIntegerField(default=0)
    bytes_fetched = models.PositiveBigIntegerField(default=0)
    #: Tries in a row that brought nothing.
    failures = models.PositiveIntegerField(default=0)
    #: Why the last try failed, or why no more is tried, as a sentence.
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    #: Until then one worker copies, and no other.
    lease_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "output fetches"
        indexes = [
            # What is due, for the task and for the upkeep.
            models.Index(fields=["next_attempt_at"], name="output_fetch_due", condition=Q(status="pending")),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}: {self.status}"


class StoredOutput(models.Model):
    """The files of a job that this site has: their size, who pinned them, and when they will be removed.

    Its row is made when somebody pins it, or when it is first measured after the training's end.
    """

    class Cause(models.TextChoices):
        """Why files go, by the setting of `retention` that says so."""

        AGE = "outputs"
        SIZE = "outputs_gb"
        CHECKPOINTS = "checkpoints"

    job = models.OneToOneField("jobs.Job", models.CASCADE, primary_key=True, related_name="stored_output")
    files = models.PositiveIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)
    checkpoints = models.PositiveIntegerField(default=0)
    #: Null: not since the training ended, or since more came.
    measured_at = models.DateTimeField(null=True)
    pinned_at = models.DateTimeField(null=True)
    pinned_by = models.CharField(max_length=150, blank=True)
    #: The announced removal: when, and why. From `begun_at` on files go, and it can't be pinned any more.
    remove_at = models.DateTimeField(null=True)
    cause = models.CharField(max_length=20, choices=Cause.choices, blank=True)
    begun_at = models.DateTimeField(null=True)
    #: The last removal that was done, and what it took, as a sentence.
    removed_at = models.DateTimeField(null=True)
    removed = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(remove_at__isnull=True, cause="", begun_at__isnull=True)
                | (Q(remove_at__isnull=False, pinned_at__isnull=True) & ~Q(cause="")),
                name="output_pinned_or_removed",
            ),
        ]
        indexes = [
            # What is due, for the loop; and an organization's page of what will go.
            models.Index(fields=["remove_at"], name="output_to_remove", condition=Q(remove_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}: {self.files} files"

    @property
    def takes_all(self) -> bool:
        """Whether the announced removal takes every file."""
        return bool(self.cause) and self.cause != self.Cause.CHECKPOINTS
