"""The figures of a user's organizations: how many jobs ended how, their cost, their duration."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jobs.costs.day_figures import Group, ended_groups, grouped
from jobs.models import Job, JobQuerySet
from jobs.models.day_figures import OF_ALL
from jobs.permissions import AnyUser, is_superuser, organizations_of
from jobs.statuses import JobStatus


def counted_jobs(user: AnyUser) -> JobQuerySet:
    """Return the jobs whose figures `user` may see. Deleted ones too: their cost was paid."""
    return _of_scopes(_scopes(user))


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

    def ended(self, user: AnyUser, by: Sequence[str]) -> Iterator[Group]:
        """Yield the figures of the jobs that ended in it, see `ended_groups`."""
        scopes = _scopes(user, self.organization)
        yield from ended_groups(_of_scopes(scopes), scopes, self.start.date(), by)

    def active(self, user: AnyUser) -> JobQuerySet:
        return _of_scopes(_scopes(user, self.organization)).active()


def _scopes(user: AnyUser, organization: str = "") -> Sequence[int]:
    """Return the ids of the organizations whose jobs count, or that all do."""
    if organization:
        organizations = organizations_of(user).filter(name=organization)
    elif is_superuser(user):
        return [OF_ALL]
    else:
        organizations = organizations_of(user)
    return list(organizations.values_list("pk", flat=True))


def _of_scopes(scopes: Sequence[int]) -> JobQuerySet:
    # By their numbers: after a join no index would have the period.
    return Job.objects.all() if OF_ALL in scopes else Job.objects.filter(organization__in=scopes)


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
    groups = list(period.ended(user, ["ended_on", "word"]))
    groups += [{**group, "ended_on": today} for group in grouped(period.active(user), ["word"])]
    by_status = dict.fromkeys(JobStatus.values, 0)
    by_day = {str((period.start + timedelta(days=number)).date()): Day() for number in range(days)}
    for group in groups:
        by_status[group["word"]] += group["jobs"]
        by_day.setdefault(group["ended_on"], Day()).add(group)
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
    return round(sum(group[total] for group in groups) / counted, 3) if counted else None


def collect(user: AnyUser) -> Iterator[Metric]:
    """Yield the same figures of all time, for Prometheus."""
    numbers = GaugeMetricFamily("cloudtrain_jobs", "Jobs, by provider and status.", labels=["provider", "status"])
    costs = CounterMetricFamily(
        "cloudtrain_job_cost_usd", "The known costs of jobs so far, in US dollars.", labels=["provider"]
    )
    unpriced = GaugeMetricFamily("cloudtrain_jobs_cost_unknown", "Jobs whose cost is not known.", labels=["provider"])
    spent: dict[str, Decimal] = defaultdict(Decimal)
    unknown: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    scopes, by = _scopes(user), ["at", "word"]
    jobs = _of_scopes(scopes)
    for group in (*ended_groups(jobs, scopes, None, by), *grouped(jobs.active(), by)):
        counts[group["at"], group["word"]] += group["jobs"]
        spent[group["at"]] += group["cost"]
        unknown[group["at"]] += group["unknown"]
    for names, count in sorted(counts.items()):
        numbers.add_metric(names, count)
    for provider, cost in spent.items():
        costs.add_metric([provider], float(cost))
        unpriced.add_metric([provider], unknown[provider])
    yield from (numbers, costs, unpriced)
