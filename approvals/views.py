"""Submissions and decisions over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import decisions
from approvals.desk import decide, decide_each
from approvals.intake import Forecast, Outcome, forecast, submit
from approvals.models import ApprovalRequest
from approvals.queries import changes_of, config_changes, find_request, visible_requests
from approvals.reviewers import lack_of_people
from approvals.serializers import (
    ApprovalDetailShape,
    ApprovalListShape,
    ApprovalQuery,
    BulkBody,
    BulkRejectionBody,
    BulkShape,
    DecidedShape,
    DecisionBody,
    RejectionBody,
    represent_answer,
    represent_request,
)
from approvals.statuses import RequestStatus, Verdict
from approvals.wishes import read_wish, repeat_wish
from cloudtrain_site.api import asker
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source
from jobs.queries import find_own_job
from jobs.serializers import SubmitBody, SubmitQuery, SubmittedShape
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
        wish = read_wish(
            asker(request),
            query.validated_data["provider"],
            body.validated_data,
            source=Source.API,
            idempotency_key=idempotency_key(request),
        )
        if body.validated_data["dry_run"]:
            return Response(_represent_forecast(forecast(wish)))
        return _submitted(submit(wish))


class RetryJob(APIView):
    """Run an ended job once more."""

    @extend_schema(request=None, responses={201: SubmittedShape, 200: SubmittedShape})
    def post(self, request: Request, job_id: str) -> Response:
        job = find_own_job(request.user, job_id)
        if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise Conflict(f"The job is {job.status}: only a failed or cancelled one can be run again.")
        return _submitted(
            submit(repeat_wish(asker(request), job, source=Source.API, idempotency_key=idempotency_key(request)))
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
        "queue_position": told.prospect.position,
        "estimated_wait_seconds": None if told.hold else told.prospect.wait,
        "waiting_reason": None if told.hold else told.prospect.reason,
        "warnings": list(told.warnings),
    }


class ApprovalList(APIView):
    """The requests about jobs that the asker may see."""

    @extend_schema(operation_id="approvals_list", parameters=[ApprovalQuery], responses=ApprovalListShape)
    def get(self, request: Request) -> Response:
        query = ApprovalQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        requests = visible_requests(request.user).prefetch_related("decisions")
        pending = requests.filter(status=RequestStatus.PENDING).count()
        if query.validated_data["status"]:
            requests = requests.filter(status=query.validated_data["status"])
        found = list(requests[: query.validated_data["limit"]])
        changes = changes_of(found)
        shown = [represent_request(item, changes[item.pk]) for item in found]
        return Response({"approvals": shown, "pending_count": pending})


class ApprovalDetail(APIView):
    """One request."""

    @extend_schema(responses=ApprovalDetailShape)
    def get(self, request: Request, request_id: int) -> Response:
        found = find_request(request.user, request_id)
        return Response({"approval": represent_request(found, config_changes(found))})


def _decided(found: ApprovalRequest) -> Response:
    return Response({"success": True, "id": found.pk, "job_id": found.job_id, "status": found.status})


def decide_and_tell(request: Request, found: ApprovalRequest, verdict: Verdict) -> Response:
    """Decide, or say why not."""
    body = (RejectionBody if verdict == Verdict.REJECT else DecisionBody)(data=request.data or {})
    body.is_valid(raise_exception=True)
    user, bypass = asker(request), body.validated_data["bypass"]
    answer = decide(found, verdict, user=user, source=Source.API, reason=body.words(), bypass=bypass)
    if answer.won:
        return _decided(found)
    if answer.code == "permission_denied":
        raise PermissionDenied(answer.words)
    if answer.code == "reason_needed":
        raise ValidationError({"reason": answer.words})
    raise Conflict(answer.words, code="already_decided")


class ApproveRequest(APIView):
    """Let a held job go."""

    @extend_schema(request=DecisionBody, responses={200: DecidedShape, 409: OpenApiResponse(description="decided")})
    def post(self, request: Request, request_id: int) -> Response:
        return decide_and_tell(request, find_request(request.user, request_id), Verdict.APPROVE)


class RejectRequest(APIView):
    """Refuse a held job."""

    @extend_schema(request=RejectionBody, responses={200: DecidedShape, 409: OpenApiResponse(description="decided")})
    def post(self, request: Request, request_id: int) -> Response:
        return decide_and_tell(request, find_request(request.user, request_id), Verdict.REJECT)


class CancelRequest(APIView):
    """Take one's own request back."""

    @extend_schema(request=DecisionBody, responses=DecidedShape)
    def post(self, request: Request, request_id: int) -> Response:
        found = find_request(request.user, request_id)
        if found.requested_by_id != request.user.pk:
            raise PermissionDenied("Only the requester takes a request back; a reviewer rejects it.")
        body = DecisionBody(data=request.data or {})
        body.is_valid(raise_exception=True)
        actor = Actor.of(request.user)
        if not decisions.cancel(found, actor=actor, source=Source.API, reason=body.words()):
            raise Conflict(decisions.how_decided(found), code="already_decided")
        return _decided(found)


def _bulk(request: Request, verdict: Verdict) -> Response:
    """Decide about each, and say what became of each."""
    body = (BulkRejectionBody if verdict == Verdict.REJECT else BulkBody)(data=request.data)
    body.is_valid(raise_exception=True)
    said = body.validated_data
    answers = decide_each(
        said["ids"], verdict, user=asker(request), source=Source.API, reason=body.words(), bypass=said["bypass"]
    )
    won = sum(answer.won for answer in answers)
    shown = [represent_answer(answer) for answer in answers]
    return Response({"success": won == len(answers), "decided": won, "results": shown})


class BulkApprove(APIView):
    """Let several held jobs go."""

    @extend_schema(request=BulkBody, responses=BulkShape)
    def post(self, request: Request) -> Response:
        return _bulk(request, Verdict.APPROVE)


class BulkReject(APIView):
    """Refuse several held jobs."""

    @extend_schema(request=BulkRejectionBody, responses=BulkShape)
    def post(self, request: Request) -> Response:
        return _bulk(request, Verdict.REJECT)


def _request_about(request: Request, job_id: str) -> ApprovalRequest:
    """The newest request about a job. Raises Http404 when there is none."""
    found = visible_requests(request.user).filter(job_id=job_id.lower()).first()
    if found is None:
        raise Http404
    return found


class ApproveQueued(APIView):
    """Let the held job of a queue entry go."""

    @extend_schema(request=DecisionBody, responses=DecidedShape)
    def post(self, request: Request, job_id: str) -> Response:
        return decide_and_tell(request, _request_about(request, job_id), Verdict.APPROVE)


class RejectQueued(APIView):
    """Refuse the held job of a queue entry."""

    @extend_schema(request=RejectionBody, responses=DecidedShape)
    def post(self, request: Request, job_id: str) -> Response:
        return decide_and_tell(request, _request_about(request, job_id), Verdict.REJECT)
