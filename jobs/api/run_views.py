"""Runs that are made from others, over HTTP."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from cloudtrain_site.api import current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from jobs.api.run_serializers import NextRunSerializer, TreeSerializer
from jobs.queries import find_job
from jobs.runs import prefill
from jobs.runs.tree import tree_of


class HasRuns(ViewSet):
    """What the jobs' addresses say of the runs that were made from one."""

    @extend_schema(responses=TreeSerializer)
    @raises(Conflict)
    @action(detail=True)
    def runs(self, request: Request, job_id: str) -> Response:
        """List the runs of a job's tree.

        All that were made from the same first job, by retries and by changes, with what each of them changed.
        """
        return rendered(TreeSerializer, tree_of(find_job(request.user, job_id), request.user))

    @extend_schema(responses=NextRunSerializer)
    @raises(Conflict)
    @action(detail=True, url_path="next-run")
    def next_run(self, request: Request, job_id: str) -> Response:
        """Show what a run with changes begins with.

        `submission` is the body of a submission, to be changed and sent with `provider`; secrets are masked in it, and
        taken over by the server where the masks stay. `checkpoints` are what the run can go on from.
        """
        return rendered(NextRunSerializer, prefill.next_run_of(find_job(request.user, job_id), current_user(request)))
