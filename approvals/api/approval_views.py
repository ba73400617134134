"""Decisions over HTTP. Each view parses, authorises, calls one verb and renders."""

from __future__ import annotations

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import decisions
from approvals.api.serializers import (
    ApprovalDetailSerializer,
    ApprovalListSerializer,
    ApprovalQuery,
    ApproveBody,
    BulkBody,
    BulkRejectionBody,
    BulkSerializer,
    CommentBody,
    DecidedSerializer,
    DecisionBody,
    RejectionBody,
    with_changes,
)
from approvals.comments import NOT_THEIRS, comment, may_comment
from approvals.models import ApprovalRequest
from approvals.queries import find_request, visible_requests
from approvals.review import decide, decide_each
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered, takes
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.states import Actor
from cloudtrain_site.strict_views import StrictViewSet
from jobs.permissions import AnyUser
from jobs.queries import find_job


class ApprovalViewSet(StrictViewSet):
    """Approval requests of jobs that the caller may see."""

    lookup_url_kwarg = "request_id"
    lookup_value_converter = "int"

    @extend_schema(operation_id="approvals_list", responses=ApprovalListSerializer)
    @takes(ApprovalQuery)
    def list(self, request: Request) -> Response:
        """List approval requests."""
        requests = visible_requests(request.user).prefetch_related("decisions__counted_for")
        pending = requests.filter(status=RequestStatus.PENDING).count()
        if self.query["status"]:
            requests = requests.filter(status=self.query["status"])
        shown = with_changes(list(requests[: self.query["limit"]]))
        return rendered(ApprovalListSerializer, {"approvals": shown, "pending_count": pending})

    @extend_schema(responses=ApprovalDetailSerializer)
    def retrieve(self, request: Request, request_id: int) -> Response:
        """Show an approval request."""
        [approval_request] = with_changes([find_request(request.user, request_id)])
        return rendered(ApprovalDetailSerializer, {"approval": approval_request})

    @extend_schema(request=ApproveBody, responses=DecidedSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def approve(self, request: Request, request_id: int) -> Response:
        """Approve a held job."""
        return _decide(request, find_request(request.user, request_id), Verdict.APPROVE)

    @extend_schema(request=RejectionBody, responses=DecidedSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def reject(self, request: Request, request_id: int) -> Response:
        """Reject a held job."""
        return _decide(request, find_request(request.user, request_id), Verdict.REJECT)

    @extend_schema(request=DecisionBody, responses=DecidedSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.SUBMIT)
    def cancel(self, request: Request, request_id: int) -> Response:
        """Withdraw your own request."""
        approval_request = find_request(request.user, request_id)
        if approval_request.requested_by_id != request.user.pk:
            raise PermissionDenied("Only the requester can withdraw a request. A reviewer can reject it.")
        reason = checked(DecisionBody, request.data or {})["reason"]
        if not decisions.cancel(approval_request, actor=Actor.of(request.user), source=current_source(), reason=reason):
            raise Conflict(decisions.outcome_message(approval_request), code="already_decided")
        return rendered(DecidedSerializer, approval_request)

    @extend_schema(request=CommentBody, responses=DecidedSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def comment(self, request: Request, request_id: int) -> Response:
        """Comment on a pending request without deciding."""
        approval_request = find_request(request.user, request_id)
        if not may_comment(request.user, approval_request):
            raise PermissionDenied(NOT_THEIRS)
        text = checked(CommentBody, request.data)["text"]
        if not comment(approval_request, text, user=current_user(request), source=current_source()):
            raise Conflict(decisions.outcome_message(approval_request), code="already_decided")
        return rendered(DecidedSerializer, approval_request)

    @extend_schema(request=BulkBody, responses=BulkSerializer)
    @action(methods=["post"], detail=False, url_path="bulk-approve")
    @needs(Scope.DECIDE)
    def bulk_approve(self, request: Request) -> Response:
        """Approve several held jobs."""
        return _decide_each(request, Verdict.APPROVE)

    @extend_schema(request=BulkRejectionBody, responses=BulkSerializer)
    @action(methods=["post"], detail=False, url_path="bulk-reject")
    @needs(Scope.DECIDE)
    def bulk_reject(self, request: Request) -> Response:
        """Reject several held jobs."""
        return _decide_each(request, Verdict.REJECT)


class QueueDecisionViewSet(StrictViewSet):
    """Decisions at the queue's addresses. They are here because the queue doesn't know of approvals."""

    lookup_url_kwarg = "job_id"

    @extend_schema(request=ApproveBody, responses=DecidedSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def approve(self, request: Request, job_id: str) -> Response:
        """Approve the held job of a queue entry."""
        return _decide(request, _newest_request(request.user, job_id), Verdict.APPROVE)

    @extend_schema(request=RejectionBody, responses=DecidedSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def reject(self, request: Request, job_id: str) -> Response:
        """Reject the held job of a queue entry."""
        return _decide(request, _newest_request(request.user, job_id), Verdict.REJECT)


def _newest_request(user: AnyUser, job_id: str) -> ApprovalRequest:
    """Return the newest request about a job. Raises Http404 when there is none, and Conflict as `find_job` does."""
    approval_request = visible_requests(user).filter(job_id=find_job(user, job_id).pk).first()
    if approval_request is None:
        raise Http404
    return approval_request


def _decide(request: Request, approval_request: ApprovalRequest, verdict: Verdict) -> Response:
    """Decide, and render the request. Raises PermissionDenied, ValidationError without a needed reason, or Conflict."""
    body = checked(RejectionBody if verdict == Verdict.REJECT else ApproveBody, request.data or {})
    user, reason, bypass = current_user(request), body["reason"], body["bypass"]
    answer = decide(
        approval_request,
        verdict,
        user=user,
        source=current_source(),
        reason=reason,
        bypass=bypass,
        up_to=body.get("up_to_usd"),
    )
    if answer.won:
        return rendered(DecidedSerializer, approval_request)
    if answer.code == "permission_denied":
        raise PermissionDenied(answer.detail)
    if answer.code == "reason_needed":
        raise ValidationError({"reason": answer.detail})
    raise Conflict(answer.detail, code=answer.code)


def _decide_each(request: Request, verdict: Verdict) -> Response:
    """Decide each, and render one result for each id."""
    body = checked(BulkRejectionBody if verdict == Verdict.REJECT else BulkBody, request.data)
    user, reason, bypass = current_user(request), body["reason"], body["bypass"]
    answers = decide_each(body["ids"], verdict, user=user, source=current_source(), reason=reason, bypass=bypass)
    decided = sum(answer.won for answer in answers)
    return rendered(BulkSerializer, {"success": decided == len(answers), "decided": decided, "results": answers})
