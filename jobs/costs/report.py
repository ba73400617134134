"""The figures of the page of costs: by day and group, the dearest of a group, and estimates against costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Case, CharField, F, FloatField, Func, IntegerField, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Cast

from jobs.costs.metrics import counted_jobs
from jobs.costs.spending import GROUPS, Spending
from jobs.models import Job
from jobs.providers import label_of
from jobs.statuses import AT_PROVIDER, JobStatus

#: As many as have a colour of their own in a chart.
MAX_SERIES = 7
#: The newest ones that estimates are compared with.
COMPARED_JOBS = 1000


@dataclass(frozen=True, slots=True)
class Share:
    """What one value of a group has spent."""

    key: Any
    spent: Decimal


class Month(Func):
    """The month of a day, as 2026-03."""

    output_field = CharField()
    arity = 1
    template = "to_char(%(expressions)s, 'YYYY-MM')"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite stores a day as its text."""
        return self.as_sql(compiler, connection, template="substr(%(expressions)s, 1, 7)", **context)


def shares(spending: Spending, group: str) -> list[Share]:
    """Return the values of the group that spent something, the dearest first."""
    sums = spending.days().order_by().values_list(GROUPS[group]).annotate(sum=Sum("spent"))
    return [Share(key, spent) for key, spent in sums.order_by("-sum", GROUPS[group]) if spent]


def stacks(
    spending: Spending, group: str, series: Sequence[Any], *, by_month: bool
) -> Mapping[str, Mapping[int, Decimal]]:
    """Return by day, as 2026-03-10 (or by month), what each of `series` spent by its place, and others."""
    bucket = Month("day") if by_month else F("day")
    days = spending.days().order_by().annotate(bucket=bucket, place=_place_in(series, GROUPS[group]))
    found: dict[str, dict[int, Decimal]] = defaultdict(dict)
    for when, place, spent in days.values_list("bucket", "place").annotate(sum=Sum("spent")):
        found[str(when)][place] = spent
    return found


def _place_in(series: Sequence[Any], column: str) -> Case:
    # A column's null equals nothing, also not null.
    places = [
        When(Q(**{f"{column}__isnull": True} if key is None else {column: key}), then=Value(place))
        for place, key in enumerate(series)
    ]
    return Case(*places, default=Value(len(series)), output_field=IntegerField())


@dataclass(frozen=True, slots=True)
class DearJob:
    """A job, and what it spent in the time. `is_kept`: its page is still there."""

    job: Job
    spent: Decimal


def dearest_jobs(spending: Spending, count: int) -> list[DearJob]:
    """Return the jobs that spent most."""
    sums = spending.days().order_by().values_list("job_id").annotate(sum=Sum("spent"))
    dearest = [(job_id, spent) for job_id, spent in sums.order_by("-sum", "-job_id")[:count] if spent > 0]
    columns = ("config_name", "status", "hardware_profile", "estimated_cost_usd", "deleted_at")
    jobs = Job.objects.select_related("organization", "submitted_by").only(
        *columns, "organization__name", "submitted_by__username"
    )
    by_id = jobs.in_bulk([job_id for job_id, _ in dearest])
    return [DearJob(by_id[job_id], spent) for job_id, spent in dearest]


def count_unpriced(spending: Spending, *, with_running: bool) -> int:
    """Return how many jobs cost something that nobody can tell; `with_running`: also those that have no entry yet."""
    jobs = set(spending.days().filter(is_unpriced=True).order_by().values_list("job_id", flat=True).distinct())
    if with_running:
        running = counted_jobs(spending.user).filter(status__in=AT_PROVIDER, account__is_unpriced=True)
        if spending.organization is not None:
            running = running.filter(organization=spending.organization)
        jobs.update(running.order_by().values_list("pk", flat=True))
    return len(jobs)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How the costs of jobs on one hardware compare with their estimates."""

    provider: str
    hardware: str
    jobs: int
    #: The median of cost divided by estimate.
    ratio: float

    @property
    def provider_label(self) -> str:
        return label_of(self.provider)


def accuracies(spending: Spending, zone: ZoneInfo) -> list[Accuracy]:
    """Compare the newest COMPARED_JOBS that completed in the time (days of `zone`) and had an estimate, by hardware."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for provider, hardware, ratio in _compared(spending, zone):
        ratios[provider, hardware].append(ratio)
    return [Accuracy(*place, len(found), median(found)) for place, found in sorted(ratios.items())]


def _compared(spending: Spending, zone: ZoneInfo) -> Iterable[tuple[str, str, float]]:
    jobs: QuerySet[Job] = spending.seen(Job.objects.all())
    ended = jobs.filter(
        status=JobStatus.COMPLETED,
        completed_at__gte=_midnight(spending.start, zone),
        completed_at__lt=_midnight(spending.end + timedelta(days=1), zone),
        estimated_cost_usd__gt=0,
        cost_usd__gt=0,
        cost_doubt=None,
    )
    ratio = Cast("cost_usd", FloatField()) / Cast("estimated_cost_usd", FloatField())
    newest = ended.order_by("-completed_at").annotate(ratio=ratio)
    return newest.values_list("provider", "hardware_profile", "ratio")[:COMPARED_JOBS]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
