"""The approvals' panel on a job's page: the request, its decisions, and a link to decide."""

from __future__ import annotations

from typing import Any

from approvals.admin.request_page import requirement_text
from approvals.comments import may_comment
from approvals.dashboard.request_acts import acts_of
from approvals.models import ApprovalRequest, Decision
from approvals.raises import proposed_up_to
from approvals.reviewers import OWN_JOB, WITH_REQUIREMENTS, decision_objection, request_warnings
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import as_utc
from jobs.costs.texts import OWN_HARDWARE, expected_cost
from jobs.models import Job
from jobs.notices.history import SOURCES
from jobs.permissions import AnyUser
from queueing.budgets.outlook import BudgetReader

#: The chip of each status: its kind in the stylesheet, and its label.
CHIPS = {
    RequestStatus.PENDING: ("held", "Needs approval"),
    RequestStatus.APPROVED: ("completed", "Approved"),
    RequestStatus.REJECTED: ("failed", "Rejected"),
    RequestStatus.EXPIRED: ("failed", "Expired"),
    RequestStatus.CANCELLED: ("cancelled", "Withdrawn"),
}
VERDICTS = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected"}


def panel_for(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the panel's data for a job with an open request; None for any other: the history has the decided ones."""
    if job.is_terminal:
        return None
    requests = ApprovalRequest.objects.filter(job=job, status=RequestStatus.PENDING)
    request = requests.select_related("job", "requested_by", "kept_from").prefetch_related(WITH_REQUIREMENTS).last()
    return None if request is None else _panel_data(request, reader)


def _panel_data(request: ApprovalRequest, reader: AnyUser) -> dict[str, Any]:
    objection, lack = decision_objection(reader, request), request_warnings(request)
    if lack and objection and objection.startswith(OWN_JOB):
        objection = OWN_JOB  # there may be no other to ask: the warning says how many
    return {
        "request": request,
        "rules": requirement_items(request),
        "requested_at": as_utc(request.requested_at),
        **acts_of([request], reader)[request.pk],
        "may_comment": may_comment(reader, request),
        "decisions": [_decision(decision) for decision in request.decisions.all()],
        "money": _money(request, reader),
        "lack": lack,
        "objection": objection,
    }


def _money(request: ApprovalRequest, reader: AnyUser) -> dict[str, Any]:
    """Return what an open request would cost, what is proposed as its limit, and what the budgets leave for it."""
    job = request.job
    is_free = job.estimated_cost_usd == 0
    return {
        "is_free": is_free,
        "cost": OWN_HARDWARE if is_free else expected_cost(job),
        "proposed": proposed_up_to(request),
        "outlook": BudgetReader(reader).of_job(job),
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
