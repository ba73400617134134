"""Figures by the names of SimpleTuner's command line: `metrics`."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Q, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from prometheus_client import generate_latest
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.api import StrictSerializer, current_user, takes
from cloudtrain_site.compatibility.elsewhere import CompatibleView
from cloudtrain_site.monitoring import health
from cloudtrain_site.monitoring.prometheus import Scrape
from jobs.costs.metrics import counted_jobs
from jobs.costs.spending import Spending
from jobs.identifiers import first_id_at
from jobs.statuses import JobStatus

ENDPOINT = "/api/cloud/metrics/prometheus"
DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
RECENT = 5


class PeriodQuery(StrictSerializer):
    period = serializers.ChoiceField(list(DAYS), default="month")


class MetricsStatus(CompatibleView):
    def get(self, request: Request) -> Response:
        """Say where the metrics are."""
        return Response(
            {
                "enabled": True,
                "prometheus_enabled": True,
                "prometheus_endpoint": ENDPOINT,
                "collectors": ["jobs", "queue"],
            }
        )


class MetricsHealth(CompatibleView):
    def get(self, request: Request) -> Response:
        """Say how each component is."""
        parts = health.components(timezone.now())
        is_healthy = all(part.status != health.UNHEALTHY for part in parts)
        components = {part.name: {"healthy": part.status == health.HEALTHY, "detail": part.message} for part in parts}
        return Response({"healthy": is_healthy, "components": components})


class PrometheusText(CompatibleView):
    def get(self, request: Request) -> Response:
        """Return the metrics' text in JSON."""
        return Response({"metrics": generate_latest(Scrape(request.user)).decode()})


class PrometheusInfo(CompatibleView):
    def get(self, request: Request) -> Response:
        """List the names of the metrics."""
        families = sorted(metric.name for metric in Scrape(request.user).collect())
        return Response({"endpoint": ENDPOINT, "enabled": True, "metric_families": families})


class MetricsCosts(CompatibleView):
    @takes(PeriodQuery)
    def get(self, request: Request) -> Response:
        """Sum up what was spent."""
        spending = _spending(current_user(request), DAYS[self.query["period"]])
        by_provider = _by(spending, "provider")
        kinds = Counter[str]()
        for provider, amount in by_provider.items():
            kinds["local" if provider == "local" else "cloud"] += amount
        ended = counted_jobs(request.user).filter(completed_at__gte=_since(self.query["period"]))
        # Not "more than 0": SQLite would read all that ever cost something, by the index of costs.
        recent = ended.exclude(cost_usd=0).order_by("-completed_at").values_list("pk", "cost_usd")[:RECENT]
        return Response(
            {
                "summary": {"total_cost": float(spending.totals()["spent_usd"]), "currency": "USD"},
                "by_provider": by_provider,
                "by_job_type": kinds,
                "recent_jobs": [{"job_id": pk, "cost": float(cost)} for pk, cost in recent],
            }
        )


class MetricsUsage(CompatibleView):
    @takes(PeriodQuery)
    def get(self, request: Request) -> Response:
        """Count the jobs of a period, and the hours that they ran."""
        # Ids begin with the time, and are in an index.
        jobs = counted_jobs(request.user).filter(pk__gte=first_id_at(_since(self.query["period"]))).order_by()
        # In one statement, by their ids: SQLite takes longer by its index of hardware.
        hardware = Coalesce("hardware_profile", Value(""))
        rows = (
            jobs.annotate(hardware=hardware)
            .values("hardware")
            .annotate(
                submitted=Count("pk"),
                completed=Count("pk", filter=Q(status=JobStatus.COMPLETED)),
                failed=Count("pk", filter=Q(status=JobStatus.FAILED)),
                took=Sum("duration_ms"),
            )
        )
        hours = {row["hardware"] or "default": round((row["took"] or 0) / 3_600_000, 4) for row in rows}
        numbers = {
            "submitted": sum(row["submitted"] for row in rows),
            "completed": sum(row["completed"] for row in rows),
            "failed": sum(row["failed"] for row in rows),
        }
        return Response({"gpu": {"total_hours": sum(hours.values()), "by_type": hours}, "jobs": numbers})


def _since(period: str) -> datetime:
    return timezone.now() - timedelta(days=DAYS[period])


def _spending(user: User, days: int) -> Spending:
    today: date = timezone.now().date()
    return Spending(user, today - timedelta(days=days - 1), today)


def _by(spending: Spending, group: str) -> dict[str, Any]:
    return {row[group]: float(row["spent_usd"]) for row in spending.rows([group])}
