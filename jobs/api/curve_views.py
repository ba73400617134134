"""The curves of a job over HTTP."""

from __future__ import annotations

from typing import Any

from django.http import StreamingHttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.api import StrictSerializer, raises, rendered, takes
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.throttles import LogReads
from cloudtrain_site.serving.csv_streams import csv_response
from cloudtrain_site.strict_views import StrictView
from jobs.curves.columns import Point, thinned
from jobs.curves.export import columns_of, rows_of
from jobs.curves.reading import curves_of
from jobs.curves.series import Curves
from jobs.queries import find_job

FEWEST_POINTS, MOST_POINTS = 10, 10_000
SERIES = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "array", "items": {}}}}
CSV = {(200, "text/csv"): OpenApiTypes.STR}


class CurvesQuery(StrictSerializer):
    """At most how many points of each curve."""

    points = serializers.IntegerField(min_value=FEWEST_POINTS, max_value=MOST_POINTS, required=False)


class CurvesSerializer(serializers.Serializer[Curves]):
    """For each metric, `series` has pairs of step and value, `gaps` the first and last step of values that are NaN or
    infinite. `seconds` has pairs of step and seconds since the training began."""

    series = serializers.SerializerMethodField()
    seconds = serializers.SerializerMethodField()
    gaps = serializers.SerializerMethodField()

    # Unchanged: a list field would convert each of 100,000 points.

    def get_series(self, curves: Curves) -> dict[str, list[list[float]]]:
        return curves.series  # type: ignore[return-value]

    def get_seconds(self, curves: Curves) -> list[list[float]]:
        return curves.seconds  # type: ignore[return-value]

    def get_gaps(self, curves: Curves) -> dict[str, list[list[int]]]:
        return curves.gaps  # type: ignore[return-value]


class JobCurves(StrictView):
    throttle_classes = [LogReads]

    @extend_schema(operation_id="job_curves", responses=CurvesSerializer)
    @raises(Conflict)
    @method_decorator(gzip_page)
    @takes(CurvesQuery)
    def get(self, request: Request, job_id: str) -> Response:
        """Read a job's curves.

        Every metric in the log, by step: at most about 10,000 points of each, its lowest and highest among them. Of a
        log of more than 20 MB only parts are read, spread from its beginning to its end.
        """
        curves = curves_of(find_job(request.user, job_id))
        return rendered(CurvesSerializer, _with_points(curves, self.query))


class JobCurvesCsv(StrictView):
    throttle_classes = [LogReads]

    @extend_schema(operation_id="job_curves_csv", responses=CSV)
    @raises(Conflict)
    def get(self, request: Request, job_id: str) -> StreamingHttpResponse:
        """Download a job's curves as a CSV file.

        A row for each step, the seconds since the training began, and a column for each figure.
        """
        job = find_job(request.user, job_id)
        curves = curves_of(job)
        return csv_response(f"{job.config_name}-{job.pk}-curves.csv", columns_of(curves), rows_of(curves))


def _with_points(curves: Curves, query: dict[str, Any]) -> Curves:
    if "points" not in query:
        return curves

    def few(points: list[Point]) -> list[Point]:
        return thinned(points, query["points"])

    return Curves({name: few(points) for name, points in curves.series.items()}, few(curves.seconds), curves.gaps)
