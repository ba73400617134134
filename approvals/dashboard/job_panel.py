"""The approvals' panel on a job's page: the request, its decisions, and a link to decide."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from approvals.admin.request_page import requirement_text
from approvals.models import ApprovalRequest, Decision
from approvals.queries import request_address
from approvals.reviewers import WITH_REQUIREMENTS, decision_objection, request_warnings
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import as_utc
from jobs.dashboard.history import SOURCES
from jobs.models import Job
from jobs.permissions import AnyUser

#: The chip of each status: its kind in the stylesheet, and its label.
CHIPS = {
    RequestStatus.PENDING: ("held", "Waits for a decision"),
    RequestStatus.APPROVED: ("completed", "Approved"),
    RequestStatus.REJECTED: ("failed", "Rejected"),
    RequestStatus.EXPIRED: ("failed", "Ran out of time"),
    RequestStatus.CANCELLED: ("cancelled", "Withdrawn"),
}
VERDICTS = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected"}


def panel_for(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the panel's data for a job that a rule held; None for any other."""
    requests = ApprovalRequest.objects.filter(job=job).select_related("job", "requested_by", "kept_from")
    request = requests.prefetch_related(WITH_REQUIREMENTS).order_by("id").last()
    return None if request is None else _panel_data(request, reader)


def _panel_data(request: ApprovalRequest, reader: AnyUser) -> dict[str, Any]:
    is_open = request.status == RequestStatus.PENDING
    kind, label = CHIPS[RequestStatus(request.status)]
    objection = decision_objection(reader, request) if is_open else None
    return {
        "request": request,
        "is_open": is_open,
        "kind": kind,
        "label": label,
        "rules": requirement_items(request),
        "requested_at": as_utc(request.requested_at),
        "expires_at": as_utc(request.expires_at),
        "is_due": is_open and request.expires_at <= timezone.now(),
        "reviewed_at": as_utc(request.reviewed_at),
        "decisions": [_decision(decision) for decision in request.decisions.all()],
        "lack": request_warnings(request),
        "objection": objection,
        "decide": request_address(request) if is_open and not objection else "",
    }


def requirement_items(request: ApprovalRequest) -> list[dict[str, Any]]:
    """Return the rules that hold the job, in order, each with its text for the pages."""
    return [{"requirement": item, "text": requirement_text(item)} for item in request.requirements.all()]


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision,
        "verdict": VERDICTS[Verdict(decision.verdict)],
        "at": as_utc(decision.at),
        "source": SOURCES.get(decision.source, decision.source),
    }
