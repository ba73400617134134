"""Metrics over HTTP, and Replicate's own status."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.api import checked, rendered
from jobs.costs.metrics import summary


class MetricsQuery(serializers.Serializer[Any]):
    """Which days."""

    days = serializers.IntegerField(min_value=1, max_value=366, default=30)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)


class DaySerializer(serializers.Serializer[Any]):
    """What one day came to."""

    date = serializers.DateField()
    cost_usd = serializers.FloatField()
    jobs = serializers.IntegerField()


class MetricsSerializer(serializers.Serializer[Any]):
    """What the days came to."""

    period_days = serializers.IntegerField()
    job_count = serializers.IntegerField()
    jobs_by_status = serializers.DictField(child=serializers.IntegerField())
    total_cost_usd = serializers.FloatField()
    cost_by_day = DaySerializer(many=True)
    average_duration_seconds = serializers.FloatField(allow_null=True)
    average_wait_seconds = serializers.FloatField(allow_null=True)
    success_rate = serializers.FloatField(allow_null=True, help_text="Of those that completed or failed; 0 to 1.")


class ReplicateStatusSerializer(serializers.Serializer[Any]):
    """What Replicate's status page says; `operational` is null when that is not known."""

    operational = serializers.BooleanField(allow_null=True)
    ongoing_incidents = serializers.ListField()
    in_progress_maintenances = serializers.ListField()
    scheduled_maintenances = serializers.ListField()
    status_page_url = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class Metrics(APIView):
    """What the jobs that the asker may see came to."""

    @extend_schema(operation_id="metrics", parameters=[MetricsQuery], responses=MetricsSerializer)
    def get(self, request: Request) -> Response:
        """Count the jobs of the last days, and what they cost."""
        return rendered(MetricsSerializer, summary(request.user, **checked(MetricsQuery, request.query_params)))


class ReplicateStatus(APIView):
    """What Replicate says of itself."""

    @extend_schema(operation_id="replicate_status", responses=ReplicateStatusSerializer)
    def get(self, request: Request) -> Response:
        """Ask Replicate's status page whether it is well."""
        # Imported at the first request: its HTTP client takes 12 MB, which most web processes never need.
        from jobs.providers.replicate.status_page import read_status

        return rendered(ReplicateStatusSerializer, read_status())
