"""The figures of a user's organizations: how many jobs ended how, their cost, their duration."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import CharField, Count, F, FloatField, Func, Q, Sum, Value
from django.db.models.functions import Concat
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jobs.models import Job, JobQuerySet, Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of
from jobs.statuses import ACTIVE, JobStatus


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


def counted_jobs(user: AnyUser) -> JobQuerySet:
    """Return the jobs whose figures `user` may see. Deleted ones too: their cost was paid."""
    jobs = Job.objects.all()
    return jobs if is_superuser(user) else jobs.filter(organization__in=organizations_of(user))


@dataclass(frozen=True, slots=True)
class Period:
    """The last `days` days, today being one of them."""

    days: int
    now: datetime
    #: The name of the only organization; empty for all that the user sees.
    organization: str = ""

    @property
    def start(self) -> datetime:
        """Midnight, UTC, of the first day."""
        today = self.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=self.days - 1)

    def ended(self, user: AnyUser) -> JobQuerySet:
        return self._jobs_of(user).filter(completed_at__gte=self.start)

    def active(self, user: AnyUser) -> JobQuerySet:
        # Without an end: SQLite takes the index of those by this alone.
        return self._jobs_of(user).filter(status__in=ACTIVE, completed_at=None)

    def _jobs_of(self, user: AnyUser) -> JobQuerySet:
        jobs = counted_jobs(user).order_by()
        if not self.organization:
            return jobs
        # By its number: after a join no index would have the period.
        named = Organization.objects.filter(name=self.organization).values_list("pk", flat=True)
        return jobs.filter(organization__in=list(named))


IS_TIMED = Q(completed_at__gte=F("started_at"))
#: A training made elsewhere did not wait here.
HAS_WAITED = Q(started_at__gte=F("created_at"), submission_marker__isnull=False)
FIGURES = {
    "jobs": Count("*"),
    "cost": Sum("cost_usd"),
    "unknown": Count("cost_doubt"),
    "took": Sum(Seconds("completed_at") - Seconds("started_at"), filter=IS_TIMED),
    "timed": Count("completed_at", filter=IS_TIMED),
    "waited": Sum(Seconds("started_at") - Seconds("created_at"), filter=HAS_WAITED),
    "waits": Count("started_at", filter=HAS_WAITED),
}


@dataclass(slots=True)
class Day:
    """The jobs of one day, and in US dollars what is known of their costs."""

    cost: Decimal = Decimal(0)
    jobs: int = 0
    unknown: int = 0

    def add(self, group: dict[str, Any]) -> None:
        self.cost += group["cost"]
        self.jobs += group["jobs"]
        self.unknown += group["unknown"]

    def as_figures(self) -> dict[str, Any]:
        return {"cost_usd": float(self.cost), "jobs": self.jobs, "jobs_of_unknown_cost": self.unknown}


def summary(user: AnyUser, days: int, organization: str = "") -> dict[str, Any]:
    """Return the figures of the last `days` days. Each job counts on the day of its end; an active one counts today.

    A sum of costs is of what is known of them, and stands beside the number of jobs whose cost is not.
    """
    period = Period(days, timezone.now(), organization)
    today = str(period.now.astimezone(UTC).date())
    # Grouped by the column itself, SQLite would walk all jobs in the order of their status.
    word = Concat("status", Value(""), output_field=CharField())
    ended = period.ended(user).annotate(day=UtcDay("completed_at"), word=word).values("day", "word").annotate(**FIGURES)
    active = period.active(user).annotate(word=word).values("word").annotate(**FIGURES)
    groups: list[dict[str, Any]] = [dict(group) for group in ended]
    groups += [{**group, "day": today} for group in active]
    by_status = dict.fromkeys(JobStatus.values, 0)
    by_day = {str((period.start + timedelta(days=number)).date()): Day() for number in range(days)}
    for group in groups:
        by_status[group["word"]] += group["jobs"]
        by_day.setdefault(group["day"], Day()).add(group)
    completed, failed = by_status[JobStatus.COMPLETED], by_status[JobStatus.FAILED]
    return {
        "period_days": days,
        "job_count": sum(by_status.values()),
        "jobs_by_status": by_status,
        "total_cost_usd": float(sum((day.cost for day in by_day.values()), Decimal(0))),
        "jobs_of_unknown_cost": sum(day.unknown for day in by_day.values()),
        "cost_by_day": [{"date": date, **day.as_figures()} for date, day in sorted(by_day.items())],
        "average_duration_seconds": _average(groups, "took", "timed"),
        "average_wait_seconds": _average(groups, "waited", "waits"),
        "success_rate": round(completed / (completed + failed), 4) if completed + failed else None,
    }


def _average(groups: list[dict[str, Any]], total: str, count: str) -> float | None:
    counted = sum(group[count] for group in groups)
    return round(sum(group[total] or 0.0 for group in groups) / counted, 3) if counted else None


def collect(user: AnyUser) -> Iterator[Metric]:
    """Yield the same figures of all time, for Prometheus."""
    numbers = GaugeMetricFamily("cloudtrain_jobs", "Jobs, by provider and status.", labels=["provider", "status"])
    costs = CounterMetricFamily(
        "cloudtrain_job_cost_usd", "What is known of the costs of jobs so far, in US dollars.", labels=["provider"]
    )
    unpriced = GaugeMetricFamily("cloudtrain_jobs_cost_unknown", "Jobs whose cost is not known.", labels=["provider"])
    spent: dict[str, Decimal] = defaultdict(Decimal)
    unknown: Counter[str] = Counter()
    groups = counted_jobs(user).order_by("provider", "status").values_list("provider", "status")
    for provider, status, count, cost, doubts in groups.annotate(Count("pk"), Sum("cost_usd"), Count("cost_doubt")):
        numbers.add_metric([provider, status], count)
        spent[provider] += cost
        unknown[provider] += doubts
    for provider, cost in spent.items():
        costs.add_metric([provider], float(cost))
        unpriced.add_metric([provider], unknown[provider])
    yield from (numbers, costs, unpriced)
