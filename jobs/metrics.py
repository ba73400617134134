"""What the jobs of somebody's organizations come to: how many ended how, what they cost, how long they took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Avg, Count, ExpressionWrapper, F, Q, Sum
from django.db.models.fields import DurationField
from django.db.models.functions import TruncDate
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jobs.access import AnyUser, is_superuser, organizations_of
from jobs.models import Job, JobQuerySet
from jobs.statuses import ACTIVE, JobStatus


def counted_jobs(user: AnyUser) -> JobQuerySet:
    """The jobs whose figures `user` may see. Deleted ones too: what they cost was paid."""
    jobs = Job.objects.all()
    return jobs if is_superuser(user) else jobs.filter(organization__in=organizations_of(user))


@dataclass(frozen=True, slots=True)
class Period:
    """The last so many days, today being one of them."""

    days: int
    now: datetime
    #: Of this organization alone, by its name; empty: of all that are seen.
    organization: str = ""

    @property
    def start(self) -> datetime:
        """Midnight, UTC, of the first day."""
        today = self.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=self.days - 1)

    def jobs(self, user: AnyUser) -> JobQuerySet:
        """Those that ended in it, or have not ended."""
        jobs = counted_jobs(user).filter(Q(completed_at__gte=self.start) | Q(status__in=ACTIVE))
        return jobs.filter(organization__name=self.organization) if self.organization else jobs


def summary(user: AnyUser, days: int, organization: str = "") -> dict[str, Any]:
    """The figures of the last `days` days. Each job counts on the day of its end; one that runs counts today."""
    period = Period(days, timezone.now(), organization)
    jobs = period.jobs(user)
    by_status = dict.fromkeys(JobStatus.values, 0)
    by_status.update(jobs.order_by().values_list("status").annotate(Count("pk")))
    completed, failed = by_status[JobStatus.COMPLETED], by_status[JobStatus.FAILED]
    by_day = _by_day(jobs, period)
    return {
        "period_days": days,
        "job_count": sum(by_status.values()),
        "jobs_by_status": by_status,
        "total_cost_usd": float(sum((cost for cost, _ in by_day.values()), Decimal(0))),
        "cost_by_day": [
            {"date": day, "cost_usd": float(cost), "jobs": count} for day, (cost, count) in sorted(by_day.items())
        ],
        "average_duration_seconds": _average(jobs, F("completed_at") - F("started_at")),
        # What was made elsewhere did not wait here.
        "average_wait_seconds": _average(jobs.exclude(submission_marker=None), F("started_at") - F("created_at")),
        "success_rate": round(completed / (completed + failed), 4) if completed + failed else None,
    }


def _by_day(jobs: JobQuerySet, period: Period) -> dict[str, tuple[Decimal, int]]:
    """Cost and number of jobs of every day, also of those without any."""
    days = {str((period.start + timedelta(days=number)).date()): (Decimal(0), 0) for number in range(period.days)}
    ended = jobs.exclude(completed_at=None).annotate(day=TruncDate("completed_at", tzinfo=UTC)).order_by()
    found: dict[str, tuple[Decimal, int]] = defaultdict(lambda: (Decimal(0), 0), days)
    for day, cost, count in ended.values_list("day").annotate(Sum("cost_usd"), Count("pk")):
        found[str(day)] = (cost, count)
    running = jobs.filter(completed_at=None).aggregate(cost=Sum("cost_usd"), count=Count("pk"))
    today = str(period.now.astimezone(UTC).date())
    cost, count = found[today]
    found[today] = (cost + (running["cost"] or 0), count + running["count"])
    return dict(found)


def _average(jobs: JobQuerySet, span: Any) -> float | None:
    wrapped = ExpressionWrapper(span, output_field=DurationField())
    found = jobs.order_by().annotate(span=wrapped).filter(span__gte=timedelta()).aggregate(average=Avg("span"))
    return round(found["average"].total_seconds(), 3) if found["average"] is not None else None


def collect(user: AnyUser) -> Iterator[Metric]:
    """The same, since ever, for Prometheus."""
    numbers = GaugeMetricFamily("cloudtrain_jobs", "Jobs, by provider and status.", labels=["provider", "status"])
    costs = CounterMetricFamily(
        "cloudtrain_job_cost_usd", "What jobs have cost so far, in US dollars.", labels=["provider"]
    )
    spent: dict[str, Decimal] = defaultdict(Decimal)
    groups = counted_jobs(user).order_by("provider", "status").values_list("provider", "status")
    for provider, status, count, cost in groups.annotate(Count("pk"), Sum("cost_usd")):
        numbers.add_metric([provider, status], count)
        spent[provider] += cost
    for provider, cost in spent.items():
        costs.add_metric([provider], float(cost))
    yield from (numbers, costs)
