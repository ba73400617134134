"""Sums of each past day's ended jobs: kept by the upkeep, read by the metrics together with the days that aren't.

A day on which a job has changed since (`day_marks.py`) is read job by job until it is summed up again, so that a figure
is always true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import CharField, Count, F, FloatField, Func, Q, Sum, Value
from django.db.models.functions import Coalesce, Concat
from django.utils import timezone

from jobs.costs.kept_sums import MOST_GAPS, KeptSums
from jobs.models import ChangedDay, DayFigures, Job, JobQuerySet
from jobs.models.day_figures import IS_SUMMED, OF_ALL

A_DAY = timedelta(days=1)
#: How long a day is over before it is summed up: see `day_marks.py`.
GRACE = timedelta(hours=1)


class UtcDay(Func):
    """The UTC day of a moment, as 2026-03-10."""

    output_field = CharField()
    arity = 1
    template = "to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD')"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite stores a moment as its text, in UTC."""
        return self.as_sql(compiler, connection, template="substr(%(expressions)s, 1, 10)", **context)


class Seconds(Func):
    """A moment in seconds, to be subtracted from another."""

    output_field = FloatField()
    arity = 1
    template = "EXTRACT(EPOCH FROM %(expressions)s)::double precision"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite computes moments in days."""
        return self.as_sql(compiler, connection, template="(julianday(%(expressions)s) * 86400.0)", **context)


IS_TIMED = Q(completed_at__gte=F("started_at"))
#: A training made elsewhere did not wait here.
HAS_WAITED = Q(started_at__gte=F("created_at"), submission_marker__isnull=False)
FIGURES: Mapping[str, Any] = {
    "jobs": Count("*"),
    "cost": Sum("cost_usd"),
    "unknown": Count("cost_doubt"),
    "took": Coalesce(Sum(Seconds("completed_at") - Seconds("started_at"), filter=IS_TIMED), 0.0),
    "timed": Count("completed_at", filter=IS_TIMED),
    "waited": Coalesce(Sum(Seconds("started_at") - Seconds("created_at"), filter=HAS_WAITED), 0.0),
    "waits": Count("started_at", filter=HAS_WAITED),
}
#: What figures may be grouped by, as expressions of a job. Grouped by the column itself, SQLite would walk all jobs in
#: the order of their status.
OF_JOB: Mapping[str, Any] = {
    "ended_on": UtcDay("completed_at"),
    "word": Concat("status", Value(""), output_field=CharField()),
    "began_on": UtcDay("started_at"),
    "at": Concat("provider", Value(""), output_field=CharField()),
}
#: The same as columns of DayFigures.
OF_DAY = {"ended_on": "day", "word": "status", "began_on": "started_on", "at": "provider"}
Group = dict[str, Any]


def grouped(jobs: JobQuerySet, by: Sequence[str]) -> Iterator[Group]:
    """Yield the figures of `jobs` by each combination of these groups."""
    rows = jobs.order_by().annotate(**{name: OF_JOB[name] for name in by}).values(*by).annotate(**FIGURES)
    yield from map(dict, rows)


def ended_groups(jobs: JobQuerySet, scopes: Sequence[int], start: date | None, by: Sequence[str]) -> Iterator[Group]:
    """Yield the figures of the `jobs` that ended since the day `start` (None: ever).

    `scopes` say the same as `jobs`, without a time. A combination of groups may come several times.
    """
    kept = JOBS.kept(start)
    gaps = list(_gaps(start, kept))
    if len(gaps) > MOST_GAPS:
        kept, gaps = [], [(start, None)]
    if kept:
        yield from _kept_groups(scopes, kept, gaps, by)
    for first, end in gaps:
        ended = jobs.ended_since(_midnight(first)) if first else jobs.filter(completed_at__isnull=False)
        yield from grouped(ended.filter(completed_at__lt=_midnight(end)) if end else ended, by)


def _kept_groups(
    scopes: Sequence[int], kept: Sequence[date], gaps: Sequence[tuple[date | None, date | None]], by: Sequence[str]
) -> Iterator[Group]:
    rows = DayFigures.objects.filter(scope__in=scopes, day__range=(kept[0], kept[-1])).order_by()
    for first, end in gaps:
        if first and end:
            rows = rows.exclude(day__gte=first, day__lt=end)
    rows = rows.annotate(**{name: F(OF_DAY[name]) for name in by}).values(*by)
    for row in rows.annotate(**{f"sum_{name}": Sum(name) for name in FIGURES}):
        sums = {name: row[f"sum_{name}"] for name in FIGURES}
        days = {name: str(row[name]) for name in by if isinstance(row[name], date)}
        yield {**{name: row[name] for name in by}, **days, **sums}


def _gaps(start: date | None, kept: Iterable[date]) -> Iterator[tuple[date | None, date | None]]:
    """Yield the times between the kept days: the first day of each, and the one after its last."""
    following = start
    for day in kept:
        if following is None or following < day:
            yield following, day
        following = day + A_DAY
    yield following, None


def sum_up_days(until: float) -> int:
    """Sum up the days that are over, and those that have changed since, until the monotonic time. Returns how many."""
    return JOBS.keep(last_day(timezone.now()), until)


def last_day(now: datetime) -> date:
    """Return the last day to sum up."""
    return (now - GRACE).astimezone(UTC).date() - A_DAY


def _first_day() -> date | None:
    ends = Job.objects.filter(completed_at__isnull=False).order_by("completed_at")
    first = ends.values_list("completed_at", flat=True).first()
    return first.astimezone(UTC).date() if first else None


def _add_up(day: date) -> list[DayFigures]:
    ended = Job.objects.filter(completed_at__gte=_midnight(day), completed_at__lt=_midnight(day + A_DAY))
    names = ["word", "began_on", "at"]
    rows = [_row(day, OF_ALL, group) for group in grouped(ended, names)]
    of_organizations = ended.exclude(organization=None).annotate(**{name: OF_JOB[name] for name in names}).order_by()
    for group in of_organizations.values("organization_id", *names).annotate(**FIGURES):
        rows.append(_row(day, group["organization_id"], group))
    rows.append(DayFigures(day=day, scope=IS_SUMMED, provider="", status="", **dict.fromkeys(FIGURES, 0)))
    return rows


def _row(day: date, scope: int, group: Mapping[str, Any]) -> DayFigures:
    began_on, sums = group["began_on"], {name: group[name] for name in FIGURES}
    started_on = date.fromisoformat(began_on) if began_on else None
    return DayFigures(day=day, scope=scope, provider=group["at"], status=group["word"], started_on=started_on, **sums)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


JOBS: KeptSums[date] = KeptSums(
    model=DayFigures,
    marks=ChangedDay,
    field="day",
    is_summed=Q(scope=IS_SUMMED),
    is_marked=Q(),
    first=_first_day,
    following=lambda day: day + A_DAY,
    add_up=_add_up,
)
