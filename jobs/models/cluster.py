"""What clusters showed when they were last looked at."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

#: What an older look showed may have changed: nothing is refused for it.
FRESH = timedelta(minutes=10)


class ClusterLook(models.Model):
    """The last looks at one cluster: what the last that succeeded showed, and why a later one failed."""

    provider = models.CharField(max_length=40, primary_key=True)
    #: As `view_data` writes it; null: no look has succeeded yet. With 300 nodes 50 kB, 3 ms to read.
    data = models.JSONField(null=True)
    #: Of the view, what lists and submissions need: by hardware profile, why no node can ever run it.
    unrunnable = models.JSONField(default=dict)
    seen_at = models.DateTimeField(null=True)
    #: Of the last look; empty: it succeeded.
    error = models.TextField(blank=True)
    error_at = models.DateTimeField(null=True)
    #: When the last look began. A look that lasts longer than the next one's start stores nothing.
    looked_at = models.DateTimeField(null=True)
    #: A process is looking, until this time at most.
    look_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["provider"]

    def __str__(self) -> str:
        return self.provider

    @property
    def is_fresh(self) -> bool:
        """Whether what a look showed still counts, also when a later one failed."""
        return self.seen_at is not None and timezone.now() - self.seen_at <= FRESH
