"""The queue's figures, as far as the user may see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Avg, Count, F, Q
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric

from jobs.costs.day_figures import grouped
from jobs.costs.metrics import Period
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


@dataclass(frozen=True, slots=True)
class DayOfWaits:
    """How many jobs started on a UTC day, and for how many seconds they had waited on average; None: none started."""

    day: date
    started: int
    seconds: float | None


def wait_by_day(user: AnyUser, period: Period) -> list[DayOfWaits]:
    """Return the waits of the jobs that started on each day of the period, from submission to start."""
    waits: dict[str, tuple[int, float]] = {}
    # A job that began in the period has ended in it, or runs. One that ended in it may have begun before.
    for group in (*period.ended(user, ["began_on"]), *grouped(period.active(user), ["began_on"])):
        count, total = waits.get(group["began_on"], (0, 0.0))
        waits[group["began_on"]] = count + group["waits"], total + group["waited"]
    days = [(period.start + timedelta(days=number)).date() for number in range(period.days)]
    return [_day_of_waits(day, *waits.get(str(day), (0, 0.0))) for day in days]


def _day_of_waits(day: date, started: int, total: float) -> DayOfWaits:
    return DayOfWaits(day, started, total / started if started else None)


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
