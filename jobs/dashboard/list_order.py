"""The orders of the list, each by an index, and where in it a page begins: after the job `cursor`, however far down.

A cursor that the list doesn't have has nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import BooleanField, F, Func, Q, Value
from django.utils import timezone

from jobs.models import Job, JobQuerySet
from jobs.snapshot_fields import A_MILLISECOND, milliseconds_between

NEWEST, OLDEST, NAME, STATUS, COST, DURATION = "newest", "oldest", "name", "status", "cost", "duration"
LOSS = "loss"
SORTS = (
    (NEWEST, "Newest first"),
    (OLDEST, "Oldest first"),
    (NAME, "By name"),
    # By its letters from the end, the words of the statuses happen to go from what is at work to what was cancelled.
    (STATUS, "By status"),
    (COST, "Most expensive first"),
    (DURATION, "Longest first"),
    (LOSS, "Lowest last loss first"),
)

#: The column of an order, whether it descends, and the ids with it.
COLUMNS: Mapping[str, tuple[str, bool]] = {
    NAME: ("name_key", False),
    STATUS: ("status", True),
    COST: ("cost_usd", True),
}


def in_order(jobs: JobQuerySet, sort: str, cursor: str) -> JobQuerySet:
    """Return the `jobs` that come after `cursor` in the order called `sort`; by duration or loss, in no order yet."""
    if sort in PUT_TOGETHER:
        return jobs.filter(reduce(or_, PUT_TOGETHER[sort](jobs, cursor).after()))
    if sort in COLUMNS:
        return _by_column(jobs, *COLUMNS[sort], cursor)
    if sort == OLDEST:
        return (jobs.filter(pk__gt=cursor) if cursor else jobs).order_by("id")
    return (jobs.filter(pk__lt=cursor) if cursor else jobs).order_by("-id")


def first_of(jobs: JobQuerySet, sort: str, cursor: str, count: int) -> list[Job]:
    """The first `count` of them, in their order."""
    if sort in PUT_TOGETHER:
        return PUT_TOGETHER[sort](jobs, cursor).first(count)
    return list(in_order(jobs, sort, cursor)[:count])


def _by_column(jobs: JobQuerySet, column: str, descends: bool, cursor: str) -> JobQuerySet:
    sign = "-" if descends else ""
    ordered = jobs.order_by(f"{sign}{column}", f"{sign}id")
    if not cursor:
        return ordered
    value = jobs.order_by().filter(pk=cursor).values_list(column, flat=True).first()
    return jobs.none() if value is None else ordered.filter(_comes_after(column, value, cursor, descends=descends))


def _comes_after(column: str, value: object, cursor: str, *, descends: bool) -> Q:
    field: Any = Job._meta.get_field(column)
    bounds = Value(value, field), Value(cursor, Job._meta.pk)
    return Q(PairComesAfter(F(column), F("id"), *bounds, descends=descends))


class PairComesAfter(Func):
    """Whether a pair of columns, the first two given, comes after a pair of values in the order.

    As a comparison of rows, which an index answers in one step, however many have the same first half. Django's own
    TupleLessThan and TupleGreaterThan are none on SQLite: it would read all that have the same.
    """

    output_field = BooleanField()
    arity = 4

    def __init__(self, *pairs: Any, descends: bool) -> None:
        super().__init__(*pairs)
        self.sign = "<" if descends else ">"

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        parts = [compiler.compile(part) for part in self.get_source_expressions()]
        first, second, *others = (sql for sql, _ in parts)
        compared = f"({first}, {second}) {self.sign} ({', '.join(others)})"
        return compared, tuple(value for _, params in parts for value in params)


class Durations:
    """The longest first, as they are now: what runs is counted up to this moment, what has not begun comes last.

    One index holds how long the ended ones took, another when the others began, and a third those without a start;
    each are read by themselves, and put together here. Between two pages a job that runs may grow past their border:
    it is then on neither.
    """

    #: Of what ended, of what runs, and of what has no start.
    ORDERS = (("-duration_ms", "-id"), ("started_at", "-id"), ("started_at", "-id"))

    def __init__(self, jobs: JobQuerySet, cursor: str) -> None:
        self.jobs = jobs
        self.cursor = cursor
        self.now = timezone.now()

    def first(self, count: int) -> list[Job]:
        """The first `count` after the cursor."""
        parts = zip(self.after(), self.ORDERS, strict=True)
        found = [job for condition, order in parts for job in self.jobs.filter(condition).order_by(*order)[:count]]
        return sorted(found, key=self._key, reverse=True)[:count]

    def after(self) -> tuple[Q, ...]:
        """What comes after the cursor, one condition for each of ORDERS; a job meets one of them at most."""
        ended = Q(duration_ms__isnull=False)
        running = Q(completed_at=None, started_at__isnull=False)
        not_begun = Q(started_at=None)
        if not self.cursor:
            return ended, running, not_begun
        nothing = Q(pk__in=[])
        last_job = self.jobs.order_by().filter(pk=self.cursor).first()
        if last_job is None:
            return nothing, nothing, nothing
        ran, _ = self._key(last_job)
        if ran < 0:
            return nothing, nothing, not_begun & Q(pk__lt=self.cursor)
        # When a job would have begun that runs for as long as this one did.
        began = last_job.started_at if last_job.completed_at is None else self.now - ran * A_MILLISECOND
        ended &= _comes_after("duration_ms", ran, self.cursor, descends=True)
        running &= Q(started_at__gt=began) | Q(started_at=began, pk__lt=self.cursor)
        return ended, running, not_begun

    def _key(self, job: Job) -> tuple[int, str]:
        """The milliseconds that it ran, or has run by now, and its id; -1 for one that has not begun."""
        ran = milliseconds_between(job.started_at, self.now) if job.completed_at is None else job.duration_ms
        return -1 if ran is None else ran, job.pk


class Losses:
    """The lowest last loss first, then the jobs without one, the newest first."""

    def __init__(self, jobs: JobQuerySet, cursor: str) -> None:
        self.jobs = jobs
        self.cursor = cursor

    def first(self, count: int) -> list[Job]:
        """The first `count` after the cursor."""
        with_loss, without = self.after()
        found = list(self.jobs.filter(with_loss).order_by("kept_curves__last_loss", "-id")[:count])
        if len(found) < count:
            found += self.jobs.filter(without).order_by("-id")[: count - len(found)]
        return found

    def after(self) -> tuple[Q, Q]:
        """What comes after the cursor: a condition for jobs with a loss, and one for those without."""
        with_loss, without, nothing = (
            Q(kept_curves__last_loss__isnull=False),
            Q(kept_curves__last_loss=None),
            Q(pk__in=[]),
        )
        if not self.cursor:
            return with_loss, without
        last_job = self.jobs.order_by().filter(pk=self.cursor).values_list("kept_curves__last_loss").first()
        if last_job is None:
            return nothing, nothing
        (loss,) = last_job
        if loss is None:
            return nothing, without & Q(pk__lt=self.cursor)
        return Q(kept_curves__last_loss__gt=loss) | Q(kept_curves__last_loss=loss, pk__lt=self.cursor), without


#: The orders that no one query has.
PUT_TOGETHER: Mapping[str, type[Durations] | type[Losses]] = {DURATION: Durations, LOSS: Losses}
