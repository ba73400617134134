"""How long the files of a job stay, over the API: parse, authorise, pin or release, render."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictView
from jobs.models import Job
from jobs.outputs import keeping
from jobs.outputs.serializers import KeepingSerializer
from jobs.queries import find_job, find_own_job


class OutputPin(StrictView):
    """The pin of a job's files."""

    @extend_schema(operation_id="outputs_keeping", responses=KeepingSerializer)
    @raises(Conflict)
    def get(self, request: Request, job_id: str) -> Response:
        """Show how long a job's files are kept."""
        return _answer(find_job(request.user, job_id))

    @extend_schema(operation_id="outputs_pin", request=None, responses=KeepingSerializer)
    @raises(Conflict)
    @needs(Scope.SUBMIT)
    def put(self, request: Request, job_id: str) -> Response:
        """Pin a job's files, so that they are kept."""
        job = find_own_job(request.user, job_id)
        keeping.pin(job, by=request.user)
        return _answer(job)

    @extend_schema(operation_id="outputs_release", responses={200: KeepingSerializer})
    @raises(Conflict)
    @needs(Scope.SUBMIT)
    def delete(self, request: Request, job_id: str) -> Response:
        """Unpin a job's files."""
        job = find_own_job(request.user, job_id)
        keeping.release(job, by=request.user)
        return _answer(job)


def _answer(job: Job) -> Response:
    return rendered(KeepingSerializer, keeping.stored_output_of(job))
