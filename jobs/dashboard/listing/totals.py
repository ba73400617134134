"""How many jobs a list has, what they cost and how long they ran; counted up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count, Sum
from django.utils import timezone

from jobs.models import JobQuerySet
from jobs.snapshot_fields import milliseconds_between

#: More are not counted: a list may have a million.
MOST = 10_000
MS_AN_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Totals:
    """Of up to MOST jobs. `is_more`: there are more, and nothing was summed."""

    jobs: int
    is_more: bool
    cost_usd: Decimal
    #: The cost of some is not known: `cost_usd` is the known part.
    is_cost_known: bool
    hours: float


def totals_of(jobs: JobQuerySet) -> Totals:
    """Return the totals of the jobs. Reads MOST rows and one at most, and of those that run the start alone."""
    first = jobs.order_by().values("cost_usd", "cost_doubt", "duration_ms")[: MOST + 1]
    sums = first.aggregate(
        jobs=Count("*"), cost=Sum("cost_usd"), doubts=Count("cost_doubt"), milliseconds=Sum("duration_ms")
    )
    if sums["jobs"] > MOST:
        return Totals(MOST, True, Decimal(0), True, 0.0)
    now = timezone.now()
    starts = jobs.order_by().filter(completed_at=None, started_at__isnull=False).values_list("started_at", flat=True)
    running = sum(milliseconds_between(start, now) or 0 for start in starts)
    hours = ((sums["milliseconds"] or 0) + running) / MS_AN_HOUR
    return Totals(sums["jobs"], False, sums["cost"] or Decimal(0), sums["doubts"] == 0, hours)
