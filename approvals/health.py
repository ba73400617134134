"""What the approvals have to say about the state of the site."""

from __future__ import annotations

from approvals.models import ApprovalRequest
from approvals.reviewers import eligible
from approvals.statuses import RequestStatus

#: The most urgent ones tell enough; each is a question to the database.
LOOKED_AT = 50


def stuck_requests() -> list[ApprovalRequest]:
    """The pending requests, the most urgent first, about which too few people are there to decide."""
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING).order_by("expires_at")
    found = pending.select_related("reviewer_group").defer("terms")[:LOOKED_AT]
    return [request for request in found if eligible(request).count() < request.approvals_needed]


def warning() -> str:
    """A sentence for the health page; empty when every request can be decided."""
    stuck = stuck_requests()
    if not stuck:
        return ""
    first = stuck[0]
    return (
        f"{len(stuck)} approval request{'s' if len(stuck) > 1 else ''} can't be decided by anybody; the first, of job "
        f"{first.job_id}, expires at {first.expires_at:%Y-%m-%d %H:%M} UTC. Add reviewers to its organization."
    )
