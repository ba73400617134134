"""The task of the site's own loop."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Task

from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.database.sqlite_analyze import refresh_statistics
from cloudtrain_site.events import store
from cloudtrain_site.limits import brakes
from cloudtrain_site.models import LoopRun
from cloudtrain_site.monitoring import process_heartbeats

RETENTION = timedelta(days=1)
#: Small enough that no other writer waits long for a DELETE.
ROWS_PER_DELETE = 1000
#: Below the time limit of a task; the next hour's run deletes the rest.
BUDGET_SECONDS = 20.0


@loop("housekeeping")
def housekeep() -> dict[str, int]:
    """Delete the events, the finished tasks, the runs of loops and the silent processes that are older than a day."""
    now = timezone.now()
    refresh_statistics()
    return {
        "events": store.trim(now),
        "tasks": delete_in_batches(Task.objects.filter(stopped__lt=now - RETENTION).order_by()),
        "processes": process_heartbeats.delete_old(),
        "runs": delete_in_batches(LoopRun.objects.filter(started_at__lt=now - RETENTION)),
        "brakes": delete_in_batches(brakes.forgotten()),
    }


def delete_in_batches(rows: QuerySet[Any], batch: int = ROWS_PER_DELETE) -> int:
    """Delete `rows` in batches, for BUDGET_SECONDS at most. Returns how many."""
    deadline = time.monotonic() + BUDGET_SECONDS
    deleted = 0
    while time.monotonic() < deadline:
        keys = list(rows.values_list("pk", flat=True)[:batch])
        rows.model._default_manager.filter(pk__in=keys).delete()
        deleted += len(keys)
        if len(keys) < batch:
            break
    return deleted
