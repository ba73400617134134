"""Metrics over HTTP, and Replicate's status page."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.api import StrictSerializer, rendered, takes
from cloudtrain_site.strict_views import StrictView
from jobs.costs.metrics import summary


class MetricsQuery(StrictSerializer):
    """The number of days, and the organization."""

    days = serializers.IntegerField(min_value=1, max_value=366, default=30)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)


class DaySerializer(serializers.Serializer[Any]):
    """The jobs and the cost of one day."""

    date = serializers.DateField()
    cost_usd = serializers.FloatField()
    jobs = serializers.IntegerField()
    jobs_of_unknown_cost = serializers.IntegerField()


class MetricsSerializer(serializers.Serializer[Any]):
    """The jobs and the cost of the last days."""

    period_days = serializers.IntegerField()
    job_count = serializers.IntegerField()
    jobs_by_status = serializers.DictField(child=serializers.IntegerField())
    total_cost_usd = serializers.FloatField(help_text="The sum of the known costs.")
    jobs_of_unknown_cost = serializers.IntegerField()
    cost_by_day = DaySerializer(many=True)
    average_duration_seconds = serializers.FloatField(allow_null=True)
    average_wait_seconds = serializers.FloatField(allow_null=True)
    success_rate = serializers.FloatField(
        allow_null=True, help_text="Completed jobs, as a share of completed and failed jobs: 0 to 1."
    )


class ReplicateStatusSerializer(serializers.Serializer[Any]):
    """The content of Replicate's status page; `operational` is null when it is unknown."""

    operational = serializers.BooleanField(allow_null=True)
    ongoing_incidents = serializers.ListField()
    in_progress_maintenances = serializers.ListField()
    scheduled_maintenances = serializers.ListField()
    status_page_url = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class Metrics(StrictView):
    """The metrics of the jobs that the user may see."""

    @extend_schema(operation_id="metrics", responses=MetricsSerializer)
    @takes(MetricsQuery)
    def get(self, request: Request) -> Response:
        """Show the number and cost of recent jobs."""
        return rendered(MetricsSerializer, summary(request.user, **self.query))


class ReplicateStatus(StrictView):
    @extend_schema(operation_id="replicate_status", responses=ReplicateStatusSerializer)
    def get(self, request: Request) -> Response:
        """Show what Replicate's status page says."""
        # Imported at the first request: its HTTP client takes 12 MB, which most web processes never need.
        from jobs.providers.replicate.status_page import read_status

        return rendered(ReplicateStatusSerializer, read_status())
