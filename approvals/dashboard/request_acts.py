"""What the reader may do with pending requests, on the approvals page and on a job's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from approvals.comments import comments_of
from approvals.models import ApprovalRequest
from approvals.queries import URGENT_WITHIN
from approvals.raises import proposed_up_to
from approvals.reviewers import reviewer_objections
from approvals.statuses import Verdict
from cloudtrain_site.api import as_utc
from jobs.permissions import AnyUser, is_superuser


def acts_of(requests: Sequence[ApprovalRequest], user: AnyUser) -> Mapping[int, dict[str, Any]]:
    """Return by id what `user` may do with each request. The number of queries doesn't depend on theirs."""
    objections, comments = reviewer_objections(user, requests), comments_of(requests)
    superuser, now = is_superuser(user), timezone.now()
    rejecting = {} if superuser else reviewer_objections(user, requests, Verdict.REJECT)

    def acts(request: ApprovalRequest) -> dict[str, Any]:
        objection, is_due = objections[request.pk], request.expires_at <= now
        has_decided = any(decision.user_id == user.pk for decision in request.decisions.all())
        is_open = not is_due and not has_decided
        return {
            "expires_at": as_utc(request.expires_at),
            "is_due": is_due,
            "is_urgent": request.expires_at - now <= URGENT_WITHIN,
            "has_decided": has_decided,
            "objection": None if superuser else objection,
            "may_approve": is_open and (superuser or objection is None),
            "may_reject": is_open and (superuser or rejecting[request.pk] is None),
            "bypasses": superuser and objection is not None,
            "is_own": request.requested_by_id == user.pk,
            "proposed": proposed_up_to(request),
            "comments": [{"comment": one, "at": as_utc(one.at)} for one in comments[request.pk]],
        }

    return {request.pk: acts(request) for request in requests}
