"""What the approvals add to a job as the API shows it, and to its line in the list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from approvals.holds import hold_of, pending_of
from approvals.models import ApprovalRequest
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
    asker = viewer if "review_address" in wanted else None
    # Putting the query together costs more than asking it.
    for request in pending_of(ApprovalRequest.objects.filter(pk__in=pending), asker) if pending else ():
        hold = hold_of(request)
        told[request.job_id] |= {
            "waiting_reason": hold.sentence,
            "held_because": request.reason,
            "review_address": hold.address,
        }
    return told
