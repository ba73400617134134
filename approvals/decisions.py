"""The verbs of an approval request. Each returns whether this call made the decision."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.contrib.auth.models import User
from django.utils import timezone

from approvals.models import ApprovalRequest, Decision
from approvals.notifications import enqueue_sending, plan_decision_mail
from approvals.reviewers import bypasses
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.unit_of_work import joined_unit, unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Change, change_state
from jobs import lifecycle
from jobs.permissions import AnyUser
from jobs.statuses import JobStatus
from queueing import claims, passes
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus

logger = logging.getLogger("simpletuner.cloud.approvals")

MAX_NOTES_CHARS = 2000
#: What `end_unapproved` ends together with the job.
ENDED_ALONG = (ApprovalRequest.SUBJECT, QueueEntry.SUBJECT)
OUTCOME_WORDS = {
    RequestStatus.APPROVED: "approved",
    RequestStatus.REJECTED: "rejected",
    RequestStatus.CANCELLED: "withdrawn",
}


def outcome_message(request: ApprovalRequest, user: AnyUser | None = None) -> str:
    """Return the outcome of a request, as a message for somebody who decided too late."""
    request.refresh_from_db(fields=["status", "reviewed_by", "reviewed_at"])
    if request.status == RequestStatus.EXPIRED:
        return f"The approval expired at {_clock(request.expires_at)}."
    if request.status == RequestStatus.PENDING:
        return _still_pending(request, user)
    word = OUTCOME_WORDS[RequestStatus(request.status)]
    return f"It was already {word} by {request.reviewed_by} at {_clock(request.reviewed_at)}."


def _still_pending(request: ApprovalRequest, user: AnyUser | None) -> str:
    own = request.decisions.filter(user_id=user.pk).first() if user is not None and user.pk else None
    if own is None:
        return "The request is still pending."
    missing = request.approvals_needed - request.decisions.count()
    return f"You approved it already at {_clock(own.at)}; it still needs {missing} more by somebody else."


def _clock(at: datetime | None) -> str:
    return "an unknown time" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def approve(request: ApprovalRequest, *, user: User, source: str, notes: str = "", bypass: bool = False) -> bool:
    """Count `user`'s approval; with the last one that is needed, the job takes its turn.

    True: it counts, and `request` shows whether it was the last. False: decided or expired before, or approved by
    the same person before; a due request is expired on the spot. A superuser who is no reviewer of it, or who says
    `bypass`, needs nobody else, and that is put on record.
    """
    if expire_when_due(request, source):
        return False
    actor, bypass = Actor.of(user), bypass or bypasses(user, request)
    with unit_of_work():
        if not _record_decision(request, user, Verdict.APPROVE, source, notes, bypass):
            return False
        count = request.decisions.count()
        if count < request.approvals_needed and not bypass:
            message = f"{count} of {request.approvals_needed} approvals{f': {notes}' if notes else ''}"
            _record_partial_approval(request, actor, source, message)
        else:
            _complete_approval(request, actor, source, notes, bypass)
    logger.info("Approval request approved", extra=request.log_fields(by=actor.name, bypass=bypass, approvals=count))
    return True


def _complete_approval(request: ApprovalRequest, actor: Actor, source: str, notes: str, bypass: bool) -> None:
    _decide(request, RequestStatus.APPROVED, actor, source, notes, bypass=bypass)
    enqueue_sending()
    claims.release(request.job, actor=actor, source=source, reason=notes or "approved")
    passes.request_pass()


def reject(request: ApprovalRequest, *, user: User, source: str, notes: str) -> bool:
    """Reject the job: its entry fails and it is cancelled. False: decided or expired before."""
    if expire_when_due(request, source):
        return False
    actor, bypass = Actor.of(user), bypasses(user, request)
    with unit_of_work():
        if not _record_decision(request, user, Verdict.REJECT, source, notes, bypass):
            return False
        end_unapproved(request, RequestStatus.REJECTED, actor, source, notes, bypass=bypass)
        enqueue_sending()
    logger.info("Approval request rejected", extra=request.log_fields(by=actor.name, bypass=bypass, reason=notes))
    return True


def cancel(request: ApprovalRequest, *, actor: Actor, source: str, reason: str = "") -> bool:
    """Withdraw the request and cancel its job. False: decided or expired before."""
    return end_unapproved(request, RequestStatus.CANCELLED, actor, source, reason or "withdrawn by the requester")


def expire(request: ApprovalRequest, *, source: str, entry: QueueEntry | None = None) -> bool:
    """Expire the request, fail the entry and cancel the job, in one transaction. False: decided before, or not due.

    `entry` is the job's queue entry, where the caller has read it.
    """
    reason = "nobody decided before the deadline"
    if not end_unapproved(request, RequestStatus.EXPIRED, SYSTEM, source, reason, entry=entry):
        return False
    logger.info("Approval request expired", extra=request.log_fields())
    return True


def withdraw(request: ApprovalRequest, *, actor: Actor, source: str) -> bool:
    """Cancel the request of a job that has ended by itself. False: decided or expired before."""
    return _decide(request, RequestStatus.CANCELLED, actor, source, f"the job is {request.job.status}")


def expire_when_due(request: ApprovalRequest, source: str) -> bool:
    """Expire the request if its deadline has passed. True: this call did."""
    return request.expires_at <= timezone.now() and expire(request, source=source)


def _record_decision(
    request: ApprovalRequest, user: User, verdict: Verdict, source: str, notes: str, bypass: bool
) -> bool:
    """Store the decision of `user`. False: the request isn't open any more, or they have approved it before.

    The request's row is locked until the transaction ends (SQLite's are one at a time anyway): of two reviewers
    whose approvals are the last two that are needed, the second one must count the first.
    """
    now = timezone.now()
    open_request = ApprovalRequest.objects.select_for_update().filter(
        pk=request.pk, status=RequestStatus.PENDING, expires_at__gt=now
    )
    if request.status != RequestStatus.PENDING or not open_request.values_list("pk", flat=True):
        return False
    if verdict == Verdict.APPROVE and request.decisions.filter(user=user).exists():
        return False
    fields = {"verdict": verdict, "reason": notes, "bypass": bypass, "source": source, "at": now, "name": user.username}
    fields["correlation_id"] = get_correlation_id()
    # A person who has approved before may reject now.
    Decision.objects.bulk_create(
        [Decision(request=request, user=user, **fields)],
        update_conflicts=True,
        unique_fields=("request", "user"),
        update_fields=list(fields),
    )
    return True


def _record_partial_approval(request: ApprovalRequest, actor: Actor, source: str, message: str) -> None:
    """Record an approval that is not the last in history and events, though the request stays pending."""
    request.record(Change.of(request, request.status, request.status, actor=actor, source=source, reason=message))


def end_unapproved(
    request: ApprovalRequest,
    to: RequestStatus,
    actor: Actor,
    source: str,
    reason: str,
    *,
    bypass: bool = False,
    entry: QueueEntry | None = None,
) -> bool:
    """End a request without an approval, with its entry and its job. False: decided or expired before."""
    job = request.job
    with unit_of_work():
        if not _decide(request, to, actor, source, reason, bypass=bypass):
            return False
        message = f"approval {to}: {reason}"
        lifecycle.finish(job, JobStatus.CANCELLED, actor=actor, source=source, reason=message, along=ENDED_ALONG)
        claims.end(job, actor=actor, source=source, to=EntryStatus.FAILED, entry=entry)
    return True


def _decide(
    request: ApprovalRequest, to: RequestStatus, actor: Actor, source: str, notes: str, *, bypass: bool = False
) -> bool:
    now = timezone.now()
    with joined_unit():
        won = _change_status(request, to, now, actor, source, notes, bypass)
        if won and to != RequestStatus.CANCELLED:
            plan_decision_mail(request)
    return won


def _change_status(
    request: ApprovalRequest,
    to: RequestStatus,
    now: datetime,
    actor: Actor,
    source: str,
    notes: str,
    bypass: bool,
) -> bool:
    # Only a pending request is decided; an approval ends only by becoming void. An expiry must be due at this moment;
    # an approval or rejection was in time when it locked the row.
    early = to == RequestStatus.EXPIRED and request.expires_at > now
    if early or request.status != RequestStatus.PENDING:
        return False
    return change_state(
        request,
        to,
        actor=actor,
        source=source,
        reason=f"past the reviewers, as superuser: {notes}" if bypass else notes,
        only_if={"expires_at": request.expires_at} if to == RequestStatus.EXPIRED else {},
        reviewed_by=actor.name,
        reviewed_at=now,
        review_notes=notes,
        bypassed=bypass,
    )
