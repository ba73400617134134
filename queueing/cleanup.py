"""Finished entries are kept for a while, and then they go; their jobs and their history stay."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from queueing.models import QueueEntry, QueueEntryQuerySet

#: Rows of one statement: a longer one would keep SQLite's only writer waiting.
BATCH = 1000


def clean_up(entries: QueueEntryQuerySet, days: int) -> int:
    """Delete those of `entries` that ended more than `days` days ago. Returns how many."""
    old = entries.filter(finished_at__lt=timezone.now() - timedelta(days=days)).order_by("finished_at")
    deleted = 0
    while batch := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted += QueueEntry.objects.filter(pk__in=batch).delete()[0]
    return deleted
