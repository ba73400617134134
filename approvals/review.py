"""Decisions of a person by API or admin, one or up to a hundred at once, and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth.models import User

from approvals import decisions
from approvals.models import ApprovalRequest
from approvals.queries import visible_requests
from approvals.requirements import progress
from approvals.reviewers import bypasses, decision_objection
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.errors import Conflict
from jobs.permissions import is_superuser

#: Each is a transaction of its own.
MAX_BULK_DECISIONS = 100
REASON_NEEDED = "Give a reason. The requester reads it."
BYPASS_REASON_NEEDED = "You aren't a reviewer of this request. Give a reason to decide as a superuser."


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one decision."""

    request_id: int
    won: bool
    #: The request's status afterwards; empty when the user may not see the request.
    status: str
    code: str
    detail: str


def decide(
    request: ApprovalRequest,
    verdict: Verdict,
    *,
    user: User,
    source: str,
    reason: str = "",
    bypass: bool = False,
    up_to: Decimal | None = None,
) -> Answer:
    """Decide as `user`, if they may; an approval may say up to which cost, in US dollars.

    A refusal is an Answer with `won` False, its code and its reason.
    """
    objection = decision_objection(user, request, verdict)
    if bypass and not is_superuser(user):
        objection = "Only superusers can decide without the reviewers."
    if objection is not None:
        return _refusal(request, verdict, user, objection)
    missing = _missing_reason(request, verdict, user, reason, bypass)
    if missing:
        return Answer(request.pk, False, request.status, "reason_needed", missing)
    try:
        if verdict == Verdict.APPROVE:
            won = decisions.approve(request, user=user, source=source, notes=reason, bypass=bypass, up_to=up_to)
        else:
            won = decisions.reject(request, user=user, source=source, notes=reason)
    except Conflict as error:
        request.refresh_from_db(fields=["status", "up_to_usd"])
        return Answer(request.pk, False, request.status, str(error.get_codes()), str(error.detail))
    if not won:
        return _too_late(request, user)
    return Answer(request.pk, True, request.status, "", _success_message(request))


def _refusal(request: ApprovalRequest, verdict: Verdict, user: User, objection: str) -> Answer:
    # Whose approval met all that they may decide is told that it counts, as others who approve twice.
    if verdict == Verdict.APPROVE and request.decisions.filter(user=user).exists():
        return _too_late(request, user)
    return Answer(request.pk, False, request.status, "permission_denied", objection)


def _too_late(request: ApprovalRequest, user: User) -> Answer:
    detail = decisions.outcome_message(request, user)
    return Answer(request.pk, False, request.status, "already_decided", detail)


def _missing_reason(request: ApprovalRequest, verdict: Verdict, user: User, reason: str, bypass: bool) -> str:
    if reason.strip():
        return ""
    if bypasses(user, request, verdict):
        return BYPASS_REASON_NEEDED
    if bypass:
        return "Give a reason for not waiting for the other reviewers. It is recorded."
    return REASON_NEEDED if verdict == Verdict.REJECT else ""


def _success_message(request: ApprovalRequest) -> str:
    if request.status == RequestStatus.PENDING:
        return f"Your approval counts: {progress(request.requirements.order_by('position'))}."
    return f"The request is {request.status}."


def decide_each(
    ids: Sequence[int],
    verdict: Verdict,
    *,
    user: User,
    source: str,
    reason: str = "",
    bypass: bool = False,
    amounts: Mapping[int, Decimal | None] | None = None,
) -> list[Answer]:
    """Decide each as `user`, in the order of the ids. A refused one doesn't keep the others from being decided.

    `amounts` says by id up to which cost, in US dollars.
    """
    requests = visible_requests(user).in_bulk(ids)
    answers = []
    for pk in dict.fromkeys(ids):
        if pk in requests:
            answers.append(
                decide(
                    requests[pk],
                    verdict,
                    user=user,
                    source=source,
                    reason=reason,
                    bypass=bypass,
                    up_to=(amounts or {}).get(pk),
                )
            )
        else:
            answers.append(Answer(pk, False, "", "not_found", "Request not found."))
    return answers
