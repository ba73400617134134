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

from django.db.models import DateField, F, FloatField, Func, Q, QuerySet, Sum
from django.db.models.functions import Cast

from jobs.costs.metrics import counted_jobs
from jobs.costs.spending import CENT_OF_A_CENT, GROUPS, Spending
from jobs.models import Job
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from jobs.statuses import JobStatus

#: As many as have a colour of their own in a chart.
MAX_SERIES = 7
#: Groups of few values: all of them in all spans are read at once.
FEW_VALUES = ("provider", "hardware")
ZERO = Decimal(0)
#: The newest ones that estimates are compared with.
COMPARED_JOBS = 500


@dataclass(frozen=True, slots=True)
class Share:
    """What one value of a group has spent."""

    key: Any
    spent: Decimal


class Month(Func):
    """The first day of the month of a day."""

    output_field = DateField()
    arity = 1
    template = "date_trunc('month', %(expressions)s::timestamp)::date"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite stores a day as its text."""
        return self.as_sql(compiler, connection, template="(substr(%(expressions)s, 1, 8) || '01')", **context)


def shares(spending: Spending, group: str) -> list[Share]:
    """Return the values of the group that spent something, the dearest first."""
    sums = spending.days().order_by().values_list(GROUPS[group]).annotate(sum=Sum("spent"))
    return [Share(key, spent) for key, spent in sums.order_by("-sum", GROUPS[group]) if spent]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What the values of a group spent, the dearest first, and when.

    `spans` has by its first day, of each day or month, what the MAX_SERIES dearest spent by their place, and at the
    next place what all others did.
    """

    shares: Sequence[Share]
    spans: Mapping[date, Mapping[int, Decimal]]


def breakdown(spending: Spending, group: str, *, by_month: bool) -> Breakdown:
    """Return what was spent by the values of the group and by day, or by month."""
    days, column = spending.days().order_by(), GROUPS[group]
    spans = days.annotate(span=Month("day") if by_month else F("day"))
    if group in FEW_VALUES:
        sums = list(spans.values_list("span", column).annotate(sum=Sum("spent")))
        found = _shares_of(sums)
        return Breakdown(found, _by_span(sums, found))
    found = shares(spending, group)
    if len(found) <= MAX_SERIES:
        return Breakdown(found, _by_span(spans.values_list("span", column).annotate(sum=Sum("spent")), found))
    # Two quick sums cost less than one that sorts the others out row by row.
    dearest = spans.filter(_is_one_of(column, [share.key for share in found[:MAX_SERIES]]))
    by_span = _by_span(dearest.values_list("span", column).annotate(sum=Sum("spent")), found)
    for span, total in spans.values_list("span").annotate(sum=Sum("spent")):
        others = (total - sum(by_span[span].values(), ZERO)).quantize(CENT_OF_A_CENT)
        if others:
            by_span[span][MAX_SERIES] = others
    return Breakdown(found, by_span)


def _shares_of(sums: Iterable[tuple[date, Any, Decimal]]) -> list[Share]:
    totals: dict[Any, Decimal] = defaultdict(Decimal)
    for _, key, spent in sums:
        totals[key] += spent
    found = [Share(key, spent.quantize(CENT_OF_A_CENT)) for key, spent in totals.items()]
    return sorted((share for share in found if share.spent), key=lambda share: (-share.spent, str(share.key)))


def _by_span(
    sums: Iterable[tuple[date, Any, Decimal]], found: Sequence[Share]
) -> defaultdict[date, dict[int, Decimal]]:
    places = {share.key: place for place, share in enumerate(found[:MAX_SERIES])}
    spans: defaultdict[date, dict[int, Decimal]] = defaultdict(dict)
    for span, key, spent in sums:
        place = places.get(key, len(places))
        spans[span][place] = spans[span].get(place, ZERO) + spent
    return spans


def _is_one_of(column: str, keys: Sequence[Any]) -> Q:
    # A column's null equals nothing, also not null.
    named = Q(**{f"{column}__in": [key for key in keys if key is not None]})
    return named | Q(**{f"{column}__isnull": True}) if None in keys else named


@dataclass(frozen=True, slots=True)
class DearJob:
    """A job, and what it spent in the time. `is_kept`: its page is still there."""

    job: Job
    spent: Decimal


def dearest_jobs(spending: Spending, count: int) -> list[DearJob]:
    """Return the jobs that spent most."""
    days = spending.days().order_by()
    sums = days.values_list("job_id").annotate(sum=Sum("spent")).order_by("-sum", "-job_id")
    # To add up each of thousands of jobs takes longer than all the rest of a report, and nearly all have one day.
    # Of many that spent the same the oldest: a later one that came first would move each time that one is read.
    of_one_day = days.filter(is_further=False).order_by("-spent", "pk").values_list("job_id", flat=True)
    of_several = sums.filter(job__in=days.filter(is_further=True).values("job_id"))
    first = {*of_one_day[: 2 * count], *(job_id for job_id, _ in of_several[:count])}
    dearest = [(job_id, spent) for job_id, spent in sums.filter(job__in=first)[:count] if spent > 0]
    columns = ("config_name", "number", "status", "hardware_profile", "estimated_cost_usd", "deleted_at")
    jobs = Job.objects.select_related("organization", "submitted_by").only(
        *columns, "organization__name", "submitted_by__username"
    )
    by_id = jobs.in_bulk([job_id for job_id, _ in dearest])
    return [DearJob(by_id[job_id], spent) for job_id, spent in dearest]


def count_unpriced(spending: Spending, *, with_running: bool) -> int:
    """Return how many jobs cost something that nobody can tell; `with_running`: also those that have no entry yet."""
    jobs = set(spending.days().filter(is_unpriced=True).order_by().values_list("job_id", flat=True).distinct())
    if with_running:
        running = counted_jobs(spending.user).at_provider().filter(account__is_unpriced=True)
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

    @property
    def hardware_label(self) -> str:
        return hardware_label(self.hardware)


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
