"""The approvals' fields of jobs, in the API and in the list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, OuterRef, QuerySet, Subquery, Value

from approvals.models import ApprovalRequest, Requirement
from approvals.queries import request_address
from approvals.reviewers import awaits_decision_by, with_deciders
from approvals.statuses import RequestStatus
from cloudtrain_site.database.prepared import Prepared
from jobs.models import Job
from jobs.permissions import AnyUser
from queueing.extensions import Hold

_REQUESTS = Prepared(
    lambda *jobs: (
        ApprovalRequest.objects.filter(job__in=jobs, raise_to_usd=None)
        .order_by("id")
        .values_list("job_id", "status", "pk")
    )
)
#: A pending request adds these.
HOLD_FIELDS = frozenset(("waiting_reason", "held_because", "review_address"))


def approvals_of(jobs: Sequence[Job], viewer: AnyUser, fields: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return status and id of each job's newest request; of a pending one also the reason and the address to decide."""
    by_job: dict[str, dict[str, Any]] = {
        job_id: {"approval_status": status, "approval_id": pk}
        for job_id, status, pk in _REQUESTS.of_each([job.pk for job in jobs])
    }
    pending = [facts["approval_id"] for facts in by_job.values() if facts["approval_status"] == RequestStatus.PENDING]
    if HOLD_FIELDS.isdisjoint(fields):
        return by_job
    reviewer = viewer if "review_address" in fields else None
    # Building the query costs more than running it, so without pending requests it isn't built.
    for request in pending_with_reviewers(ApprovalRequest.objects.filter(pk__in=pending), reviewer) if pending else ():
        hold = hold_of(request)
        by_job[request.job_id] |= {
            "waiting_reason": hold.sentence,
            "held_because": request.reason,
            "review_address": hold.address,
        }
    return by_job


#: The columns that `hold_of` needs. The terms of a request may have a megabyte.
HOLD_COLUMNS = ("job_id", "status", "rule_name", "reason", "expires_at")


def approval_holds(job_ids: Sequence[str], viewer: AnyUser | None) -> Mapping[str, Hold]:
    """Return the holds of held jobs, by job id, in one query."""
    requests = ApprovalRequest.objects.filter(job__in=job_ids, raise_to_usd=None)
    return {request.job_id: hold_of(request) for request in pending_with_reviewers(requests, viewer)}


def pending_with_reviewers(requests: QuerySet[ApprovalRequest], viewer: AnyUser | None) -> Iterable[Any]:
    """Return the pending `requests` with the attributes for `hold_of`. Without a viewer none gets an address."""
    is_theirs = Value(False) if viewer is None else awaits_decision_by(viewer)
    pending = with_deciders(requests.filter(status=RequestStatus.PENDING).only(*HOLD_COLUMNS))
    last = Requirement.objects.filter(request=OuterRef("pk")).order_by("-position").values("position")[:1]
    return pending.annotate(is_theirs=ExpressionWrapper(is_theirs, BooleanField()), further_rules=Subquery(last))


def hold_of(request: Any) -> Hold:
    """Return the hold of a request from `pending_with_reviewers`."""
    people: int = request.deciders
    decide = "1 person can decide" if people == 1 else f"{people} people can decide"
    further = f" and {request.further_rules} more" if request.further_rules else ""
    rule_reason = request.reason.rstrip(".")
    rule = f"rule “{request.rule_name}”{further}"
    reason = f"Needs approval: {rule_reason} ({rule}). {decide if people else 'Nobody can decide'}"
    return Hold(reason, request.expires_at, request_address(request) if request.is_theirs else None)
