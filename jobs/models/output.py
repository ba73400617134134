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
