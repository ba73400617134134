"""The queue's figures, as far as the user may see them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.db.models import Avg, Count, F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric

from jobs.costs.metrics import Period, UtcDay
from jobs.permissions import AnyUser
from queueing.limits import queue_state
from queueing.models import QueueEntry, QueueEntryQuerySet
from queueing.queries import entries_seen_by
from queueing.statuses import TAKES_SLOT, WAITING, EntryStatus

#: The average wait is that of entries dispatched within this.
WAIT_WINDOW = timedelta(days=1)
#: The busiest users and organizations; a page of a thousand would say no more.
MAX_GROUPS = 50


def statistics(user: AnyUser) -> dict[str, Any]:
    """Return depth, running, average wait and limits of everything; by user, team and status what `user` may see."""
    seen = entries_seen_by(user)
    dispatched = seen.filter(dispatched_at__gte=timezone.now() - WAIT_WINDOW)
    wait = dispatched.aggregate(wait=Avg(F("dispatched_at") - F("enqueued_at")))["wait"]
    return {
        "depth": QueueEntry.objects.filter(status__in=WAITING).count(),
        "running": QueueEntry.objects.taking_slots().count(),
        "average_wait_seconds": None if wait is None else round(wait.total_seconds(), 1),
        "by_status": _by_status(seen),
        "limits": queue_state(),
        "by_user": _grouped(seen, "user__username", "user"),
        "by_organization": _grouped(seen, "organization__name", "organization"),
    }


def _by_status(seen: QueueEntryQuerySet) -> dict[str, int]:
    counts = dict(seen.order_by().values_list("status").annotate(Count("pk")))
    return {status: counts.get(status, 0) for status in EntryStatus.values}


def depth_by_day(user: AnyUser, period: Period) -> list[tuple[date, int]]:
    """Return how many entries waited at the end of each day of the period, today's being now, as far as `user` may see.

    Counted backwards from now, so that nothing has to be stored for it. Entries that were deleted since are missing on
    the days of their wait.
    """
    entries = entries_seen_by(user).order_by()
    if period.organization:
        entries = entries.filter(organization__name=period.organization)
    # A requeued entry has been dispatched before and waits all the same.
    left = entries.exclude(status__in=WAITING).annotate(left=Coalesce("dispatched_at", "finished_at"))
    enqueued, left_by_day = _by_day(entries, "enqueued_at", period), _by_day(left, "left", period)
    depth = entries.filter(status__in=WAITING).count()
    depths = []
    for number in reversed(range(period.days)):
        day = (period.start + timedelta(days=number)).date()
        depths.append((day, max(depth, 0)))
        depth += left_by_day.get(str(day), 0) - enqueued.get(str(day), 0)
    return depths[::-1]


def _by_day(entries: QueueEntryQuerySet, column: str, period: Period) -> dict[str, int]:
    recent = entries.filter(**{f"{column}__gte": period.start}).annotate(day=UtcDay(column))
    return dict(recent.values_list("day").annotate(Count("pk")))


WAIT_NOW = Count("pk", filter=Q(status__in=WAITING))
RUN_NOW = Count("pk", filter=Q(status__in=TAKES_SLOT))


def _grouped(seen: QueueEntryQuerySet, column: str, key: str) -> list[dict[str, Any]]:
    groups = (
        seen.live()
        .order_by()
        .values_list(column)
        .annotate(waiting=WAIT_NOW, running=RUN_NOW)
        .order_by("-running", "-waiting", column)
    )
    return [{key: name, "waiting": waiting, "running": running} for name, waiting, running in groups[:MAX_GROUPS]]


def collect(user: AnyUser) -> Iterator[Metric]:
    numbers = GaugeMetricFamily(
        "cloudtrain_queue_entries", "Live queue entries, by provider and status.", labels=["provider", "status"]
    )
    groups = entries_seen_by(user).live().order_by("provider", "status").values_list("provider", "status")
    for provider, status, count in groups.annotate(Count("pk")):
        numbers.add_metric([provider, status], count)
    yield numbers
