"""The key under which a job was submitted."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from jobs.models.job import Job


class IdempotencyKey(models.Model):
    """A submitter's promise that requests under one key are one request. Kept for 24 hours."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    job = models.ForeignKey(Job, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            # Two requests with one key at the same moment: the second waits here and then finds the first's job.
            models.UniqueConstraint(fields=["user", "key"], name="one_job_a_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} of {self.user}"
