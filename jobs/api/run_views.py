"""Runs that are made from others, over HTTP."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.api import current_user, raises, rendered, takes
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.throttles import LogReads
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.run_serializers import CompareQuery, ComparisonSerializer, NextRunSerializer, TreeSerializer
from jobs.queries import find_job
from jobs.runs import prefill
from jobs.runs.compare import chosen_jobs, compare
from jobs.runs.tree import tree_of


class HasRuns(StrictViewSet):
    """What the jobs' addresses say of the runs that were made from one."""

    @extend_schema(responses=TreeSerializer)
    @raises(Conflict)
    @action(detail=True)
    def runs(self, request: Request, job_id: str) -> Response:
        """List the runs of a job's tree.

        All runs that go back to the same first job, by retries and changes, with what each of them changed.
        """
        return rendered(TreeSerializer, tree_of(find_job(request.user, job_id), request.user))

    @extend_schema(
        parameters=[OpenApiParameter("id", {"type": "array", "items": {"type": "string"}}, required=True)],
        responses=ComparisonSerializer,
    )
    @raises(NotFound, Conflict)
    @action(detail=False, throttle_classes=[LogReads])
    @takes(CompareQuery)
    def compare(self, request: Request) -> Response:
        """Compare two to five jobs.

        Their curves, what differs in their configs, cost, duration, and the last and the lowest loss.
        """
        return rendered(ComparisonSerializer, compare(chosen_jobs(request.user, self.query["id"])))

    @extend_schema(responses=NextRunSerializer)
    @raises(Conflict)
    @action(detail=True, url_path="next-run")
    def next_run(self, request: Request, job_id: str) -> Response:
        """Get the submission for a run with changes.

        Change `submission`, add `provider`, and send it to `POST /api/cloud/jobs/submit`. Its secrets are masked; where
        a mask stays, the server uses the parent's secret. The run can continue from one of the `checkpoints`.
        """
        return rendered(NextRunSerializer, prefill.next_run_of(find_job(request.user, job_id), current_user(request)))
