"""The figures of the page of costs: by day and group, the dearest of a group, and estimates against costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import FloatField, Q, QuerySet, Sum
from django.db.models.functions import Cast

from jobs.costs.cost_sums import DEAREST, dollars
from jobs.costs.metrics import counted_jobs
from jobs.costs.spending import DAY, GROUPS, MONTH, Spending
from jobs.models import CostSum, DayCost, Job
from jobs.models.cost_sums import SumOf
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


def shares(spending: Spending, group: str) -> list[Share]:
    """Return the values of the group that spent something, the dearest first."""
    return _shares_of((key, amount) for (key,), (amount, _) in spending.sums([GROUPS[group]]).items())


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
    span, column = MONTH if by_month else DAY, GROUPS[group]
    if group in FEW_VALUES:
        sums = _amounts(spending.sums([span, column]))
        found = _shares_of((key, amount) for (_, key), amount in sums.items())
        return Breakdown(found, _by_span(sums, found))
    found = shares(spending, group)
    if len(found) <= MAX_SERIES:
        return Breakdown(found, _by_span(_amounts(spending.sums([span, column])), found))
    # Two quick sums cost less than one that sorts the others out row by row.
    dearest = spending.sums([span, column], _is_one_of(column, [share.key for share in found[:MAX_SERIES]]))
    by_span = _by_span(_amounts(dearest), found)
    for (first_day,), (total, _) in spending.sums([span]).items():
        others = dollars(total) - sum(by_span[first_day].values(), ZERO)
        if others:
            by_span[first_day][MAX_SERIES] = others
    return Breakdown(found, by_span)


def _amounts(sums: Mapping[tuple[Any, ...], tuple[int, int]]) -> dict[tuple[Any, ...], int]:
    return {key: amount for key, (amount, _) in sums.items()}


def _shares_of(sums: Iterable[tuple[Any, int]]) -> list[Share]:
    totals: dict[Any, int] = defaultdict(int)
    for key, amount in sums:
        totals[key] += amount
    found = [Share(key, dollars(amount)) for key, amount in totals.items() if amount]
    return sorted(found, key=lambda share: (-share.spent, str(share.key)))


def _by_span(sums: Mapping[tuple[Any, ...], int], found: Sequence[Share]) -> defaultdict[date, dict[int, Decimal]]:
    places = {share.key: place for place, share in enumerate(found[:MAX_SERIES])}
    spans: defaultdict[date, dict[int, Decimal]] = defaultdict(dict)
    for (span, key), amount in sums.items():
        place = places.get(key, len(places))
        spans[span][place] = spans[span].get(place, ZERO) + dollars(amount)
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
    days = DayCost.objects.filter(day__gte=spending.start, day__lte=spending.end)
    sums = spending.seen_of_few(days).order_by().values_list("job_id").annotate(sum=Sum("spent"))
    found = dict[str, Decimal]()
    for jobs in _candidates(spending, count):
        found.update(sums.filter(job__in=jobs).order_by("-sum", "-job_id")[:count])
    by_cost = sorted(sorted(found.items(), reverse=True), key=lambda item: item[1], reverse=True)
    dearest = [(job_id, spent) for job_id, spent in by_cost[:count] if spent > 0]
    columns = ("config_name", "number", "status", "hardware_profile", "estimated_cost_usd", "deleted_at")
    shown = Job.objects.select_related("organization", "submitted_by").only(
        *columns, "organization__name", "submitted_by__username"
    )
    by_id = shown.in_bulk([job_id for job_id, _ in dearest])
    return [DearJob(by_id[job_id], spent) for job_id, spent in dearest]


def _candidates(spending: Spending, count: int) -> Iterator[Collection[str] | QuerySet[Any, Any]]:
    """Yield jobs that the dearest ones are among.

    To add up each of thousands of jobs takes longer than all the rest of a report, and nearly all have one day.
    """
    months = [span.name for span in spending.by_month if span.is_month] if count <= DEAREST else []
    dearest = set[str]()
    for is_month, some in groupby(spending.by_month, lambda span: bool(months) and span.is_month):
        if not is_month:
            between = list(some)
            first, last = between[0].first, between[-1].last
            further = DayCost.objects.filter(day__gte=first, day__lte=last, is_further=True)
            yield spending.seen_of_few(further).values("job_id")
            # Of many that spent the same the oldest: a later one that came first would move each time that one is read.
            # By the job's id, which the index has.
            of_one_day = spending.days(first, last).filter(is_further=False).order_by("-spent", "job_id")
            dearest.update(of_one_day.values_list("job_id", flat=True)[: 2 * count])
    if months:
        sums = spending.seen(CostSum.objects.filter(span__in=months))
        # What a job of several months spent in one of them may not be much.
        yield sums.filter(kind=SumOf.CROSSING).values("job_id")
        dearest.update(
            sums.filter(kind=SumOf.DEAREST).order_by("-amount").values_list("job_id", flat=True)[: 2 * count]
        )
    yield dearest


def count_unpriced(spending: Spending, *, with_running: bool) -> int:
    """Return how many jobs cost something that nobody can tell; `with_running`: also those that have no entry yet."""
    days = DayCost.objects.filter(day__gte=spending.start, day__lte=spending.end, is_unpriced=True)
    jobs = set(spending.seen_of_few(days).order_by().values_list("job_id", flat=True).distinct())
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
