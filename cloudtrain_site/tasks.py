"""The task of the site's own loop."""

from __future__ import annotations

import time

from django.utils import timezone

from cloudtrain_site.accounts.sessions import over_by_now
from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.database.batches import delete_in_batches
from cloudtrain_site.database.sqlite_analyze import refresh_statistics
from cloudtrain_site.limits import brakes
from cloudtrain_site.monitoring import process_heartbeats
from cloudtrain_site.retention.runs import ITEM_SECONDS, LOOP, remove_old


@loop(LOOP)
def housekeep() -> dict[str, int]:
    """Remove what was kept long enough, silent processes, brakes that no longer act, and sessions that are over."""
    refresh_statistics()
    return {
        **remove_old(timezone.now()),
        "processes": process_heartbeats.delete_old(),
        "brakes": delete_in_batches(brakes.forgotten(), until=time.monotonic() + ITEM_SECONDS),
        "overdue_sessions": sum(
            delete_in_batches(rows, until=time.monotonic() + ITEM_SECONDS) for rows in over_by_now()
        ),
    }
