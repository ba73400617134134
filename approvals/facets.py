"""What the approvals add to a job as the API shows it, and to its line in the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper

from approvals.addresses import address_of
from approvals.holds import TOLD, sentence
from approvals.models import ApprovalRequest
from approvals.reviewers import waits_for, with_deciders
from approvals.statuses import RequestStatus
from jobs.access import AnyUser
from jobs.models import Job
from jobs.statuses import JobStatus


def approvals_of(jobs: Sequence[Job], viewer: AnyUser) -> Mapping[str, Mapping[str, Any]]:
    """The newest request of each job: its status and id; of a pending one also why, and where `viewer` decides."""
    requests = ApprovalRequest.objects.filter(job__in=[job.pk for job in jobs]).only(*TOLD).order_by("id")
    may_be_held = any(job.status == JobStatus.PENDING for job in jobs)
    if may_be_held:  # putting these together costs more than asking them
        is_theirs = ExpressionWrapper(waits_for(viewer), BooleanField())
        requests = with_deciders(requests).annotate(is_theirs=is_theirs)
    return {request.job_id: _told(request, is_whole=may_be_held) for request in requests}


def _told(request: Any, *, is_whole: bool) -> dict[str, Any]:
    told = {"approval_status": request.status, "approval_id": request.pk}
    if request.status != RequestStatus.PENDING or not is_whole:
        return told
    return {
        **told,
        "waiting_reason": sentence(request),
        "held_because": request.reason,
        "review_address": address_of(request) if request.is_theirs else None,
    }
