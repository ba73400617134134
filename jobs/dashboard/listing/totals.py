"""How many jobs a list has, what they cost and how long they ran; counted up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import Count, DurationField, F, Q, Sum, Value
from django.utils import timezone

from jobs.finding.pages import MOST_COUNTED, Found
from jobs.finding.search import MOST_IDS
from jobs.models import Job

AN_HOUR = timedelta(hours=1)
MS_AN_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Totals:
    """Of up to MOST_COUNTED jobs. `is_more`: there are more, and nothing was summed."""

    jobs: int
    is_more: bool
    cost_usd: Decimal
    #: The cost of some is not known: `cost_usd` is the known part.
    is_cost_known: bool
    hours: float


def totals_of(found: Found) -> Totals:
    """Return the totals of the jobs. Reads as many rows as are counted at most."""
    count = found.count()
    if count > MOST_COUNTED:
        return Totals(MOST_COUNTED, True, Decimal(0), True, 0.0)
    # An index has their ids; for what is summed, every job among which they are would be read: on PostgreSQL, which
    # compares an index's texts only where it has all that is asked for, even if their names are searched.
    jobs = found.counted
    ids = jobs.values_list("pk", flat=True)
    if count <= MOST_IDS:
        jobs = Job.objects.filter(pk__in=list(ids) if count else [])
    elif connection.vendor == "postgresql" and any(criterion.has_text for criterion in found.criteria):
        jobs = Job.objects.filter(pk__in=ids)
    now = timezone.now()
    sums = jobs.aggregate(
        jobs=Count("*"),
        cost=Sum("cost_usd"),
        doubts=Count("cost_doubt"),
        milliseconds=Sum("duration_ms"),
        running=Sum(
            Value(now) - F("started_at"),
            filter=Q(completed_at=None, started_at__lt=now),
            output_field=DurationField(),
        ),
    )
    hours = (sums["milliseconds"] or 0) / MS_AN_HOUR + (sums["running"] or timedelta(0)) / AN_HOUR
    return Totals(sums["jobs"], False, sums["cost"] or Decimal(0), sums["doubts"] == 0, hours)
