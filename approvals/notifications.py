"""The notices of a request: to its reviewers while it waits, to its requester when it is decided."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timeuntil

from approvals.models import ApprovalRequest
from approvals.reviewers import WITH_REQUIREMENTS, eligible, who_decides
from approvals.statuses import RequestStatus
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.notices.outbox import Audience, fill_in, store
from cloudtrain_site.states import Actor

LAST_CALL = timedelta(hours=1)
#: The occasions of the reviewers' notices.
ASKED, HALF_TIME, LAST_HOUR = "asked", "half_time", "last_call"
REQUESTED, REMINDER = "approval_requested", "approval_reminder"
_DECIDED = ("My request was approved, rejected or has expired", "approval_decided")
TO_REVIEWERS = (REQUESTED, REMINDER)
#: The kinds of notice, with the label and the name of the choice that mutes each.
KINDS = {
    **{f"approval_{status}": _DECIDED for status in ("approved", "rejected", "expired", "cancelled")},
    REQUESTED: ("A job needs my decision", "approval_asked"),
    REMINDER: ("A job still needs my decision", REMINDER),
}

_REQUESTS = Prepared(
    lambda pk: (
        ApprovalRequest.objects.filter(pk=pk).select_related("job", "requested_by").prefetch_related(WITH_REQUIREMENTS)
    )
)


def store_reviewer_notices(request: ApprovalRequest) -> None:
    """Store the notices of a new request, for now and while it stays undecided."""
    half = request.requested_at + (request.expires_at - request.requested_at) / 2
    _store(request, REQUESTED, ASKED, due_at=request.requested_at)
    _store(request, REMINDER, HALF_TIME, due_at=half)
    if request.expires_at - LAST_CALL > half:
        _store(request, REMINDER, LAST_HOUR, due_at=request.expires_at - LAST_CALL)


def store_decision_notice(request: ApprovalRequest, actor: Actor) -> None:
    """Store the notice to the requester, who needs none of their own decision."""
    _store(request, f"approval_{request.status}", "decided", actor_id=actor.user_id)


def _store(
    request: ApprovalRequest, kind: str, occasion: str, *, due_at: datetime | None = None, actor_id: int | None = None
) -> None:
    store(
        kind,
        key=f"approval {request.pk} {occasion}",
        subject=kind,  # the text is written when the notice is due
        audience=Audience(organization_id=request.organization_id, actor_id=actor_id),
        job_id=request.job_id,
        data={"approval_id": request.pk, "occasion": occasion},
        due_at=due_at,
    )


def prepare(notice: Notice) -> bool:
    """Fill in what is true when the notice is sent: who may decide, and how long. False: it is decided by now."""
    request = _REQUESTS.first(notice.data["approval_id"])
    if request is None or not (notice.kind not in (REQUESTED, REMINDER) or _is_open(request)):
        return False
    notice.users = _recipients(request, notice.kind)
    name = "asked" if notice.kind in (REQUESTED, REMINDER) else "decided"
    notice.link = _link(request, name)
    context = _context(request, notice.data["occasion"])
    fill_in(
        notice,
        subject=render_to_string(f"approvals/mail/{name}_subject.txt", context),
        text=render_to_string(f"approvals/mail/{name}.txt", context).strip(),
        data={"config_name": request.job.config_name, "status": request.status, "reason": request.reason},
    )
    return True


def _is_open(request: ApprovalRequest) -> bool:
    return request.status == RequestStatus.PENDING and request.expires_at > timezone.now()


def _recipients(request: ApprovalRequest, kind: str) -> list[int]:
    if kind not in (REQUESTED, REMINDER):
        users = User.objects.filter(pk=request.requested_by_id or 0)
    else:
        # Reviewers who have approved already get no further notice, nor those whose rules have their approvals.
        users = eligible(request).exclude(pk__in=request.decisions.values("user"))
    return list(users.order_by("pk").values_list("pk", flat=True))


def _link(request: ApprovalRequest, name: str) -> str:
    if name == "asked":
        return reverse("admin:approvals_approvalrequest_change", args=[request.pk])
    return reverse("job-page", args=[request.job_id])


def _context(request: ApprovalRequest, occasion: str) -> dict[str, Any]:
    return {
        "request": request,
        "job": request.job,
        "kind": occasion,
        "requirements": [(item, who_decides(item)) for item in request.requirements.all()],
        "left": timeuntil(request.expires_at),
    }
