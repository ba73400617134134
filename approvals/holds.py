"""What the queue tells of a job that an approval holds: by which rule, why, who decides, and until when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, QuerySet, Value

from approvals.addresses import address_of
from approvals.models import ApprovalRequest
from approvals.reviewers import waits_for, with_deciders
from approvals.statuses import RequestStatus
from jobs.access import AnyUser
from queueing.holds import Hold

#: All that is told of one: the terms of a request may have a megabyte.
TOLD = ("job_id", "status", "rule_name", "reason", "expires_at")


def holds_on(job_ids: Sequence[str], viewer: AnyUser | None) -> Mapping[str, Hold]:
    """The hold on each held job, in one query for all of them."""
    asked = ApprovalRequest.objects.filter(job__in=job_ids)
    return {request.job_id: hold_of(request) for request in pending_of(asked, viewer)}


def pending_of(requests: QuerySet[ApprovalRequest], viewer: AnyUser | None) -> Iterable[Any]:
    """Those of `requests` that are pending, with what `hold_of` needs; nobody in particular needs no address."""
    asks = Value(False) if viewer is None else waits_for(viewer)
    pending = with_deciders(requests.filter(status=RequestStatus.PENDING).only(*TOLD))
    return pending.annotate(is_theirs=ExpressionWrapper(asks, BooleanField()))


def hold_of(request: Any) -> Hold:
    """What a request that comes from `pending_of` holds its job by."""
    people: int = request.deciders
    decide = "1 person can decide" if people == 1 else f"{people} people can decide"
    reason = request.reason.rstrip(".")
    words = f"Held by the rule {request.rule_name!r}: {reason}; {decide if people else 'nobody can decide'}"
    return Hold(words, request.expires_at, address_of(request) if request.is_theirs else None)
