"""Submissions and decisions over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import decisions
from approvals.api.serializers import (
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
from approvals.deciding import decide, decide_each
from approvals.models import ApprovalRequest
from approvals.queries import changes_of, config_changes, find_request, visible_requests
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source


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
    user, bypass = current_user(request), body.validated_data["bypass"]
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
        said["ids"], verdict, user=current_user(request), source=Source.API, reason=body.words(), bypass=said["bypass"]
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
