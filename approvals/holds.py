"""What the queue tells of a job that an approval holds: by which rule, why, who decides, and until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from approvals.addresses import address_of
from approvals.models import ApprovalRequest
from approvals.reviewers import waits_for, with_deciders
from approvals.statuses import RequestStatus
from jobs.access import AnyUser

#: All that is told of one: the terms of a request may have a megabyte.
TOLD = ("job_id", "status", "rule_name", "reason", "expires_at")


def why_held(job_ids: Sequence[str]) -> Mapping[str, str]:
    """A sentence for each held job, in one query for all of them."""
    pending = ApprovalRequest.objects.filter(job__in=job_ids, status=RequestStatus.PENDING)
    return {request.job_id: sentence(request) for request in with_deciders(pending.only(*TOLD))}


def where_decided(job_ids: Sequence[str], user: AnyUser) -> Mapping[str, str]:
    """The place of each held job's request, for those that wait for `user`."""
    pending = ApprovalRequest.objects.filter(waits_for(user), job__in=job_ids, status=RequestStatus.PENDING)
    return {request.job_id: address_of(request) for request in pending.only("job_id")}


def sentence(request: ApprovalRequest) -> str:
    """Why a pending request holds its job. It must come from `with_deciders`."""
    people: int = request.deciders  # type: ignore[attr-defined]
    reason = request.reason.rstrip(".")
    decide = "1 person can decide" if people == 1 else f"{people} people can decide"
    until = f"expires {request.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"Held by the rule {request.rule_name!r}: {reason}; {decide if people else 'nobody can decide'}; {until}."
