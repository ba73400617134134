"""The orders of the list, each by an index, and where in it a page begins: after the job `cursor`, however far down.

A cursor that the list doesn't have has nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import CharField, DecimalField, F, Field, Func, Q, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils import timezone

from jobs.models import Job, JobQuerySet
from jobs.order_sql import DIGITS, NameKey, PairComesAfter, RanKey

NEWEST, OLDEST, NAME, STATUS, COST, DURATION = "newest", "oldest", "name", "status", "cost", "duration"
SORTS = (
    (NEWEST, "Newest first"),
    (OLDEST, "Oldest first"),
    (NAME, "By name"),
    # By its letters from the end, the words of the statuses happen to go from what is at work to what was cancelled.
    (STATUS, "By status"),
    (COST, "Most expensive first"),
    (DURATION, "Longest first"),
)


class ByColumn:
    """By a column and then by the ids, the highest first."""

    def __init__(self, column: str, kind: Field[Any, Any]) -> None:
        self.of, self.kind = F(column), kind

    def in_order(self, jobs: JobQuerySet) -> JobQuerySet:
        """`jobs` in this order."""
        return jobs.annotate(key=self.of).order_by("-key", "-id")

    def after(self, value: Any, cursor: str) -> Q:
        """What comes after the job `cursor`, whose key is `value`."""
        place = Value(value, self.kind), Value(cursor, CharField())
        return Q(PairComesAfter(self.of, F("id"), *place, is_descending=True))


class ByKey:
    """By an expression that has the id in it."""

    def __init__(self, of: Func, *, is_descending: bool) -> None:
        self.of, self.is_descending = of, is_descending

    def in_order(self, jobs: JobQuerySet) -> JobQuerySet:
        """`jobs` in this order."""
        return jobs.annotate(key=self.of).order_by("-key" if self.is_descending else "key")

    def after(self, value: Any, _: str) -> Q:
        """What comes after the job whose key is `value`."""
        return Q(LessThan(self.of, value) if self.is_descending else GreaterThan(self.of, value))


RAN = ByKey(RanKey("completed_at", "started_at", "id"), is_descending=True)
NAMES = ByKey(NameKey("config_name", "id"), is_descending=False)
ORDERS: Mapping[str, ByColumn | ByKey] = {
    NAME: NAMES,
    STATUS: ByColumn("status", CharField()),
    COST: ByColumn("cost_usd", DecimalField(max_digits=12, decimal_places=4)),
}


def in_order(jobs: JobQuerySet, sort: str, cursor: str) -> JobQuerySet:
    """Those of `jobs` that come after `cursor`, in the order called `sort`; by duration, in any."""
    if sort == DURATION:
        parts = Durations(jobs, cursor).after()
        return jobs.filter(parts[0] | parts[1] | parts[2])
    if sort in ORDERS:
        return _from(jobs, ORDERS[sort], cursor)
    if sort == OLDEST:
        return (jobs.filter(pk__gt=cursor) if cursor else jobs).order_by("id")
    return (jobs.filter(pk__lt=cursor) if cursor else jobs).order_by("-id")


def first_of(jobs: JobQuerySet, sort: str, cursor: str, count: int) -> list[Job]:
    """The first `count` of them, in their order."""
    return Durations(jobs, cursor).first(count) if sort == DURATION else list(in_order(jobs, sort, cursor)[:count])


def _from(jobs: JobQuerySet, order: ByColumn | ByKey, cursor: str) -> JobQuerySet:
    if not cursor:
        return order.in_order(jobs)
    value = jobs.order_by().filter(pk=cursor).annotate(key=order.of).values_list("key", flat=True).first()
    return jobs.none() if value is None else order.in_order(jobs.filter(order.after(value, cursor)))


class Durations:
    """The longest first, as they are now: what runs is counted up to this moment, what has not begun comes last.

    One index holds how long the ended ones took, another when the others began; each are read by themselves, and put
    together here. Between two pages a job that runs may grow past their border: it is then on neither.
    """

    def __init__(self, jobs: JobQuerySet, cursor: str) -> None:
        self.jobs = jobs
        self.cursor = cursor
        self.now = timezone.now()

    def first(self, count: int) -> list[Job]:
        """The first `count` after the cursor."""
        ended, running, waiting = self.after()
        parts: Sequence[JobQuerySet] = (
            RAN.in_order(self.jobs.filter(ended)),
            self.jobs.filter(running).order_by("started_at", "-id"),
            self.jobs.filter(waiting).order_by("-id"),
        )
        found = [job for part in parts for job in part[:count]]
        return sorted(found, key=self._key, reverse=True)[:count]

    def after(self) -> tuple[Q, Q, Q]:
        """What comes after the cursor: of those that ended, of those that run, and of those that have not begun."""
        ended = Q(completed_at__isnull=False)
        running, waiting = (Q(completed_at=None, started_at__isnull=is_waiting) for is_waiting in (False, True))
        if not self.cursor:
            return ended, running, waiting
        place = self.jobs.order_by().filter(pk=self.cursor).annotate(key=RAN.of).first()
        if place is None:
            return Q(pk__in=[]), Q(pk__in=[]), Q(pk__in=[])
        key = self._key(place)
        ended &= RAN.after(key, self.cursor)
        began = self._began(place, int(key[:DIGITS]) - 1)
        if began is None:
            return ended, Q(pk__in=[]), waiting & Q(pk__lt=self.cursor)
        return ended, running & (Q(started_at__gt=began) | Q(started_at=began, pk__lt=self.cursor)), waiting

    def _key(self, job: Job) -> str:
        """As RanKey writes it, and for what runs as it would at this moment."""
        if job.completed_at is not None:
            return str(job.key)  # type: ignore[attr-defined]
        ran = 0
        if job.started_at is not None:
            ran = 1 + max(0, round((self.now - job.started_at) / timedelta(milliseconds=1)))
        return f"{ran:0{DIGITS}}{job.pk}"

    def _began(self, job: Job, milliseconds: int) -> datetime | None:
        """When a job would have begun that runs for as long as this one did."""
        if job.started_at is None or job.completed_at is None:
            return job.started_at
        return self.now - timedelta(milliseconds=milliseconds)
