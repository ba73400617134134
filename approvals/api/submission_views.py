"""Submitting over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals.intake import Forecast, Outcome, forecast, submit
from approvals.reviewers import lack_of_people
from approvals.submissions import read_submission, repeat_submission
from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Source
from jobs.api.serializers import SubmitBody, SubmitQuery, SubmittedShape
from jobs.queries import find_own_job
from jobs.statuses import JobStatus

KEY_LIMIT = 200


def idempotency_key(request: Request) -> str:
    """The `Idempotency-Key` header. Raises ValidationError for one that is too long to keep."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_LIMIT:
        raise ValidationError({"idempotency_key": f"A key may have at most {KEY_LIMIT} characters."})
    return key


class SubmitJob(APIView):
    """Take a job in."""

    @extend_schema(parameters=[SubmitQuery], request=SubmitBody, responses={201: SubmittedShape, 200: SubmittedShape})
    def post(self, request: Request) -> Response:
        query = SubmitQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        body = SubmitBody(data=request.data)
        body.is_valid(raise_exception=True)
        submission_request = read_submission(
            current_user(request),
            query.validated_data["provider"],
            body.validated_data,
            source=Source.API,
            idempotency_key=idempotency_key(request),
        )
        if body.validated_data["dry_run"]:
            return Response(_represent_forecast(forecast(submission_request)))
        return _submitted(submit(submission_request))


class RetryJob(APIView):
    """Run an ended job once more."""

    @extend_schema(request=None, responses={201: SubmittedShape, 200: SubmittedShape})
    def post(self, request: Request, job_id: str) -> Response:
        job = find_own_job(request.user, job_id)
        if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise Conflict(f"The job is {job.status}: only a failed or cancelled one can be run again.")
        return _submitted(
            submit(
                repeat_submission(
                    current_user(request), job, source=Source.API, idempotency_key=idempotency_key(request)
                )
            )
        )


def _submitted(outcome: Outcome) -> Response:
    body = {
        "success": True,
        "job_id": outcome.job.pk,
        "status": outcome.job.status,
        "idempotent_hit": outcome.is_replay,
        "requires_approval": outcome.approval is not None and outcome.approval.kept_from_id is None,
        "approval_id": outcome.approval.pk if outcome.approval else None,
        "queue_position": outcome.queue_position,
        "warnings": [*outcome.warnings, *lack_of_people(outcome.approval)],
    }
    return Response(body, status=200 if outcome.is_replay else 201)


def _represent_forecast(told: Forecast) -> dict[str, Any]:
    return {
        "success": True,
        "dry_run": True,
        "estimated_cost_usd": None if told.estimated_cost is None else float(told.estimated_cost),
        "estimated_seconds": told.estimated_seconds,
        "requires_approval": told.hold is not None,
        "rule": told.hold.rule.name if told.hold else None,
        "reason": told.hold.reason if told.hold else None,
        "queue_position": told.start.position,
        "estimated_wait_seconds": None if told.hold else told.start.wait,
        "waiting_reason": None if told.hold else told.start.reason,
        "warnings": list(told.warnings),
    }
