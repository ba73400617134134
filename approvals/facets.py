"""What the approvals add to a job as the API shows it, and to its line in the list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Value

from approvals.addresses import address_of
from approvals.holds import TOLD, sentence
from approvals.models import ApprovalRequest
from approvals.reviewers import waits_for, with_deciders
from approvals.statuses import RequestStatus
from jobs.access import AnyUser
from jobs.models import Job


def approvals_of(jobs: Sequence[Job], viewer: AnyUser, wanted: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """The newest request of each job: its status and id; of a pending one also why, and where `viewer` decides."""
    requests = ApprovalRequest.objects.filter(job__in=[job.pk for job in jobs]).order_by("id")
    told: dict[str, dict[str, Any]] = {
        job_id: {"approval_status": status, "approval_id": pk}
        for job_id, status, pk in requests.values_list("job_id", "status", "pk")
    }
    pending = [facts["approval_id"] for facts in told.values() if facts["approval_status"] == RequestStatus.PENDING]
    for request in _held(pending, viewer, wanted):
        told[request.job_id] |= {
            "waiting_reason": sentence(request),
            "held_because": request.reason,
            "review_address": address_of(request) if request.is_theirs else None,
        }
    return told


def _held(pending: Collection[int], viewer: AnyUser, wanted: Collection[str]) -> Iterable[Any]:
    if not pending:  # putting the rest together costs more than asking it
        return []
    asks = waits_for(viewer) if "review_address" in wanted else Value(False)
    requests = ApprovalRequest.objects.filter(pk__in=pending, status=RequestStatus.PENDING).only(*TOLD)
    return with_deciders(requests).annotate(is_theirs=ExpressionWrapper(asks, BooleanField()))
