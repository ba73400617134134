"""The removal of what was kept long enough: one run, and what the health page says of it."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.utils.module_loading import import_string

from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.extensions import kept
from cloudtrain_site.models import Loop

logger = logging.getLogger("simpletuner.cloud.background")

LOOP = "housekeeping"
#: Below the time limit of a task; the next hour's run goes on.
RUN_SECONDS = 40.0
#: One thing with a million rows must not keep the others from their turn.
ITEM_SECONDS = 10.0


def remove_old(now: datetime) -> dict[str, int]:
    """Remove what is older than the configuration lets be kept. Returns how many by name; says so in one line."""
    periods, end = config_in_force().retention, time.monotonic() + RUN_SECONDS
    counts: dict[str, int] = {}
    for name, item in kept.items():
        period = getattr(periods, name, None)  # an item without a setting has a period of its own
        if period is not None or item.always:
            until = min(end, time.monotonic() + ITEM_SECONDS)
            counts[name] = import_string(item.remove)(None if period is None else now - period, until)
    removed = {name: count for name, count in counts.items() if count}
    if removed:
        logger.info("Removed what was kept long enough", extra=removed)
    return counts


def last_removal() -> str:
    """Return what the last run removed, as a sentence for the health page."""
    result = Loop.objects.filter(pk=LOOP).values_list("last_result", flat=True).first() or {}
    parts = [f"{item.label}: {result[name]}" for name, item in kept.items() if result.get(name)]
    return f"Removed by the last run: {', '.join(parts)}." if parts else "The last run found nothing old to remove."
