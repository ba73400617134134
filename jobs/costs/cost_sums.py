"""Sums of what was spent on each past day and in each past month: kept by the upkeep, read by reports and exports.

What a sum can't answer is read row by row from DayCost: days that have none yet or whose costs have changed
(`cost_marks.py`), and questions by job, by config, or by person and place together.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import BigIntegerField, Count, Exists, F, Func, OuterRef, Q, QuerySet, Sum, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from jobs.costs.cost_marks import WESTERNMOST
from jobs.costs.kept_sums import MOST_GAPS, KeptSums
from jobs.models import ChangedCosts, CostSum, DayCost
from jobs.models.cost_sums import SumOf

A_DAY = timedelta(days=1)
OF_MONTH = len("2026-03")
#: How long after its end by UTC a day is added up: an hour after it is over everywhere.
GRACE = timedelta(hours=WESTERNMOST + 1)
#: By what each kind of sums is grouped.
COLUMNS: Mapping[SumOf, Sequence[str]] = {
    SumOf.PLACE: ("organization_id", "provider", "hardware"),
    SumOf.PERSON: ("organization_id", "user_id"),
}
#: The sums tell this many of the dearest jobs. They keep twice as many of each organization's month; jobs that spent
#: something in other months too are looked at by themselves.
DEAREST = 10


class Microdollars(Func):
    """An amount in whole millionths of a dollar: SQLite adds up decimals as floats."""

    output_field = BigIntegerField()
    arity = 1
    template = "(%(expressions)s * 1000000)::bigint"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="CAST(ROUND(%(expressions)s * 1000000) AS INTEGER)", **context
        )


SPENT = Sum(Microdollars("spent"))
UNPRICED = Count("pk", filter=Q(is_unpriced=True))


def dollars(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-6)


@dataclass(frozen=True, slots=True)
class Span:
    """Some days, both ends included. `name`: of their sums; empty: they have none."""

    first: date
    last: date
    name: str = ""

    @property
    def is_month(self) -> bool:
        return len(self.name) == OF_MONTH


def spans(start: date, end: date, *, with_months: bool) -> list[Span]:
    """Cut the days from `start` to `end` into months and days whose sums are true, and the times between them."""
    kept = (BOTH if with_months else DAYS).kept(start.isoformat()[:7])
    found = {name: _span(name) for name in kept if len(name) == OF_MONTH}
    found = {name: month for name, month in found.items() if start <= month.first and month.last <= end}
    days = (name for name in kept if start.isoformat() <= name <= end.isoformat() and len(name) > OF_MONTH)
    found |= {name: _span(name) for name in days if name[:OF_MONTH] not in found}
    cut, following = list[Span](), start
    for span in sorted(found.values(), key=lambda span: span.first):
        if following < span.first:
            cut.append(Span(following, span.first - A_DAY))
        cut.append(span)
        following = span.last + A_DAY
    if following <= end:
        cut.append(Span(following, end))
    return [Span(start, end)] if sum(not span.name for span in cut) > MOST_GAPS else cut


def _span(name: str) -> Span:
    if len(name) == OF_MONTH:
        return Span(date.fromisoformat(f"{name}-01"), date.fromisoformat(f"{_next_month(name)}-01") - A_DAY, name)
    return Span(date.fromisoformat(name), date.fromisoformat(name), name)


def _next_month(name: str) -> str:
    return (date.fromisoformat(f"{name}-01") + timedelta(days=31)).isoformat()[:7]


def _next_day(name: str) -> str:
    return (date.fromisoformat(name) + A_DAY).isoformat()


def sum_up_costs(until: float) -> int:
    """Add up the days and months that are over, and those that have changed since, until the monotonic time.

    Returns how many.
    """
    count = 0
    for kept, last in ((DAYS, last_day(timezone.now())), (MONTHS, last_month(timezone.now()))):
        if time.monotonic() < until:
            count += kept.keep(last, until)
    return count


def wrong_sums(until: float) -> Iterator[str]:
    """Yield the days and months whose sums are not those of their rows, until the monotonic time."""
    for kept in (DAYS, MONTHS):
        for name in kept.kept():
            if time.monotonic() > until:
                return
            # What changes between the two looks has a mark, or other sums at the second.
            if all(_differs(name) and name in kept.kept(name) for _ in range(2)):
                yield name


def _differs(name: str) -> bool:
    """Whether a sum is not that of its rows. Of the dearest jobs no sum is shown."""
    fields = ("kind", "organization_id", "user_id", "provider", "hardware", "amount", "unpriced")
    stored, rows = (
        Counter(tuple(getattr(one, field) for field in fields) for one in sums)
        for sums in (CostSum.objects.filter(kind__in=COLUMNS, span=name), _sums(_span(name)))
    )
    return stored != rows


def sum_again() -> int:
    """Mark all days and months: reports read row by row until the upkeep has added them up anew. Returns how many."""
    kept = CostSum.objects.filter(kind__in=(SumOf.DAY, SumOf.MONTH)).values_list("kind", "span")
    return len(ChangedCosts.objects.bulk_create(ChangedCosts(kind=kind, span=span) for kind, span in kept))


def last_day(now: datetime) -> str:
    """Return the last day to add up."""
    return ((now - GRACE).astimezone(UTC).date() - A_DAY).isoformat()


def last_month(now: datetime) -> str:
    return ((now - GRACE).astimezone(UTC).date().replace(day=1) - A_DAY).isoformat()[:7]


def _first_day() -> str | None:
    first = DayCost.objects.order_by("day").values_list("day", flat=True).first()
    return first.isoformat() if first else None


def _first_month() -> str | None:
    first = _first_day()
    return first[:7] if first else None


def _add_up_day(name: str) -> list[CostSum]:
    return [CostSum(kind=SumOf.DAY, span=name), *_sums(_span(name))]


def _add_up_month(name: str) -> list[CostSum]:
    return [CostSum(kind=SumOf.MONTH, span=name), *_sums(_span(name)), *_jobs(_span(name))]


def _sums(span: Span) -> Iterator[CostSum]:
    for kind, columns in COLUMNS.items():
        for sums in _days(span).values(*columns).annotate(amount=SPENT, unpriced=UNPRICED):
            yield CostSum(kind=kind, span=span.name, **sums)


def _jobs(span: Span) -> Iterator[CostSum]:
    """Yield what the search for the dearest jobs (`report.py`) needs of the month.

    A job of several months is among those that cross in all of them but one, since all of its days but one are further
    ones: it is among the dearest of one at most.
    """
    days = _days(span)
    outside = DayCost.objects.filter(Q(day__lt=span.first) | Q(day__gt=span.last), job=OuterRef("job"))
    crossing = days.filter(Exists(outside), is_further=True)
    for owner, job in crossing.values_list("organization_id", "job_id").distinct():
        yield CostSum(kind=SumOf.CROSSING, span=span.name, organization_id=owner, job_id=job)
    sums = days.exclude(job__in=crossing.values("job_id")).values("organization_id", "job_id").annotate(amount=SPENT)
    place = Window(RowNumber(), partition_by=F("organization_id"), order_by=(F("amount").desc(), F("job_id").desc()))
    dearest = sums.annotate(place=place).filter(place__lte=2 * DEAREST)
    for owner, job, amount in dearest.values_list("organization_id", "job_id", "amount"):
        yield CostSum(kind=SumOf.DEAREST, span=span.name, organization_id=owner, job_id=job, amount=amount)


def _days(span: Span) -> QuerySet[DayCost]:
    return DayCost.objects.filter(day__gte=span.first, day__lte=span.last).order_by()


DAYS, MONTHS = (
    KeptSums(
        model=CostSum,
        marks=ChangedCosts,
        field="span",
        is_summed=Q(kind=kind),
        is_marked=Q(kind=kind),
        first=first,
        following=following,
        add_up=add_up,
    )
    for kind, first, following, add_up in (
        (SumOf.DAY, _first_day, _next_day, _add_up_day),
        (SumOf.MONTH, _first_month, _next_month, _add_up_month),
    )
)
#: To read them.
BOTH = replace(DAYS, is_summed=Q(kind__in=(SumOf.DAY, SumOf.MONTH)), is_marked=Q())
