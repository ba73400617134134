"""The verbs of an approval request. Each returns whether this call made the decision."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from approvals import raises
from approvals.models import ApprovalRequest, Decision, Requirement
from approvals.notifications import store_decision_notice
from approvals.requirements import missing, progress
from approvals.reviewers import Standing, bypasses, decision_objection, requirements_decided_by
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.unit_of_work import joined_unit, unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Change, change_state
from jobs import lifecycle
from jobs.fuses.fuse import lower_fuse, refuse_raise
from jobs.permissions import AnyUser
from jobs.statuses import JobStatus
from queueing import claims, passes
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus

logger = logging.getLogger("simpletuner.cloud.approvals")

MAX_NOTES_CHARS = 2000
#: What `end_unapproved` ends together with the job.
ENDED_ALONG = (ApprovalRequest.SUBJECT, QueueEntry.SUBJECT)
OUTCOMES = {
    RequestStatus.APPROVED: "approved",
    RequestStatus.REJECTED: "rejected",
    RequestStatus.EXPIRED: "the approval request expired",
    RequestStatus.CANCELLED: "withdrawn",
}


def outcome_message(request: ApprovalRequest, user: AnyUser | None = None) -> str:
    """Return the outcome of a request, as a message for somebody who decided too late."""
    request.refresh_from_db(fields=["status", "reviewed_by", "reviewed_at"])
    if request.status == RequestStatus.EXPIRED:
        return f"The request expired at {_clock(request.expires_at)}."
    if request.status == RequestStatus.PENDING:
        return _still_pending(request, user)
    word = OUTCOMES[RequestStatus(request.status)]
    return f"The request was already {word} by {request.reviewed_by} at {_clock(request.reviewed_at)}."


def _still_pending(request: ApprovalRequest, user: AnyUser | None) -> str:
    if user is None or not user.pk:
        return "The request is still pending."
    own = request.decisions.filter(user_id=user.pk).first()
    if own is None:
        return decision_objection(user, ApprovalRequest.objects.get(pk=request.pk)) or "The request is still pending."
    needed = missing(request.requirements.order_by("position"))
    return f"You already approved at {_clock(own.at)}. The request still needs {needed} from others."


def _clock(at: datetime | None) -> str:
    return "an unknown time" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def approve(
    request: ApprovalRequest,
    *,
    user: User,
    source: str,
    notes: str = "",
    bypass: bool = False,
    up_to: Decimal | None = None,
) -> bool:
    """Count `user`'s approval for each requirement that they may decide; when all are met, the job takes its turn.

    True: it counts, and `request` shows whether it was the last. False: closed before, approved by
    the same person before, or no requirement that they may decide lacks an approval; a due request is expired on the
    spot. A superuser who may decide none of them, or who says `bypass`, needs nobody else, and that is put on record.
    Raises Conflict when a raise is too late or too low.
    """
    if expire_when_due(request, source):
        return False
    actor, bypass, standing = Actor.of(user), bypass or bypasses(user, request), Standing(user)
    with unit_of_work():
        if not _lock(request) or request.decisions.filter(user=user).exists():
            return False
        requirements = list(request.requirements.order_by("position"))
        decided = requirements_decided_by(standing, request, requirements)
        if not decided and not bypass:
            return False
        decision = _store_decision(request, user, Verdict.APPROVE, source, notes, bypass, up_to)
        _count(decision, decided)
        _limit_cost(request, up_to)
        progress_text = progress(requirements) if requirements else ""
        if bypass or not any(item.approvals_missing for item in requirements):
            _complete_approval(request, actor, source, notes, bypass)
        else:
            _record_partial_approval(request, actor, source, f"{progress_text}: {notes}" if notes else progress_text)
    logger.info(
        "Approval request approved", extra=request.log_fields(by=actor.name, bypass=bypass, progress=progress_text)
    )
    return True


def _limit_cost(request: ApprovalRequest, up_to: Decimal | None) -> None:
    """Keep the lowest amount that a reviewer named, in US dollars, under the request's lock."""
    request.refresh_from_db(fields=["up_to_usd"])
    if up_to is not None and (request.up_to_usd is None or up_to < request.up_to_usd):
        request.up_to_usd = up_to
        request.save(update_fields=["up_to_usd"])


def _complete_approval(request: ApprovalRequest, actor: Actor, source: str, notes: str, bypass: bool) -> None:
    _decide(request, RequestStatus.APPROVED, actor, source, notes, bypass=bypass)
    if request.raise_to_usd is not None:
        raises.grant(request, actor=actor, source=source)
        return
    if request.up_to_usd is not None:
        lower_fuse(request.job, request.up_to_usd)
    claims.release(request.job, actor=actor, source=source, reason=notes or "approved")
    passes.request_pass()


def reject(request: ApprovalRequest, *, user: User, source: str, notes: str) -> bool:
    """Reject the job: its entry fails and it is cancelled. False: closed before."""
    if expire_when_due(request, source):
        return False
    actor, bypass = Actor.of(user), bypasses(user, request, Verdict.REJECT)
    with unit_of_work():
        if not _lock(request):
            return False
        _take_back(_store_decision(request, user, Verdict.REJECT, source, notes, bypass))
        end_unapproved(request, RequestStatus.REJECTED, actor, source, notes, bypass=bypass)
    logger.info("Approval request rejected", extra=request.log_fields(by=actor.name, bypass=bypass, reason=notes))
    return True


def cancel(request: ApprovalRequest, *, actor: Actor, source: str, reason: str = "") -> bool:
    """Withdraw the request and cancel its job. False: closed before."""
    return end_unapproved(request, RequestStatus.CANCELLED, actor, source, reason)


def expire(request: ApprovalRequest, *, source: str, entry: QueueEntry | None = None) -> bool:
    """Expire the request, fail the entry and cancel the job, in one transaction. False: decided before, or not due.

    `entry` is the job's queue entry, where the caller has read it.
    """
    reason = "nobody decided before the deadline"
    if not end_unapproved(request, RequestStatus.EXPIRED, SYSTEM, source, reason, entry=entry):
        return False
    logger.info("Approval request expired", extra=request.log_fields())
    return True


def withdraw(request: ApprovalRequest, *, actor: Actor, source: str, reason: str = "") -> bool:
    """Cancel the request that nobody need decide any more; of a job that has ended by itself. False: closed before."""
    return _decide(request, RequestStatus.CANCELLED, actor, source, reason or f"the job is {request.job.status}")


def expire_when_due(request: ApprovalRequest, source: str) -> bool:
    """Expire the request if its deadline has passed. True: this call did."""
    return request.expires_at <= timezone.now() and expire(request, source=source)


def _lock(request: ApprovalRequest) -> bool:
    """Lock the request's row until the transaction ends. False: it isn't open any more.

    Of two reviewers whose approvals are the last two that are needed, the second one must count the first. SQLite's
    transactions are one at a time anyway.
    """
    open_request = ApprovalRequest.objects.select_for_update().filter(
        pk=request.pk, status=RequestStatus.PENDING, expires_at__gt=timezone.now()
    )
    return request.status == RequestStatus.PENDING and bool(open_request.values_list("pk", flat=True))


def _store_decision(
    request: ApprovalRequest,
    user: User,
    verdict: Verdict,
    source: str,
    notes: str,
    bypass: bool,
    up_to: Decimal | None = None,
) -> Decision:
    """Store the decision of `user`. A person who has approved before may reject now."""
    fields = {"verdict": verdict, "reason": notes, "bypass": bypass, "source": source, "name": user.username}
    fields |= {"at": timezone.now(), "correlation_id": get_correlation_id(), "up_to_usd": up_to}
    [decision] = Decision.objects.bulk_create(
        [Decision(request=request, user=user, **fields)],
        update_conflicts=True,
        unique_fields=("request", "user"),
        update_fields=list(fields),
    )
    return decision


def _count(decision: Decision, requirements: list[Requirement]) -> None:
    """Count an approval for these requirements, under the request's lock."""
    decision.counted_for.add(*requirements)
    numbers = [item.pk for item in requirements]
    Requirement.objects.filter(pk__in=numbers).update(approvals_given=F("approvals_given") + 1)
    for item in requirements:
        item.approvals_given += 1


def _take_back(decision: Decision) -> None:
    """Uncount the approval that its author has turned into this rejection, if there was one."""
    counted = Requirement.objects.filter(pk__in=decision.counted_for.values("pk"))
    if counted.update(approvals_given=F("approvals_given") - 1):
        decision.counted_for.clear()


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
    """End a request without an approval, with its entry and its job. False: closed before."""
    job = request.job
    with unit_of_work():
        if not _decide(request, to, actor, source, reason, bypass=bypass):
            return False
        if to == RequestStatus.CANCELLED:
            store_decision_notice(request, actor)
        if request.raise_to_usd is not None:
            refuse_raise(job, actor=actor, source=source, reason=reason)
            return True
        # The job is `cancelled`, not `failed`: no training ran that could have failed, and success rates leave it out.
        # Its entry is `failed`, as documented: `cancelled` is an entry that somebody took out of the queue.
        message = f"{OUTCOMES[to]}: {reason}" if reason else OUTCOMES[to]
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
            store_decision_notice(request, actor)
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
        reason=f"without the reviewers, as superuser: {notes}" if bypass else notes,
        only_if={"expires_at": request.expires_at} if to == RequestStatus.EXPIRED else {},
        reviewed_by=actor.name,
        reviewed_at=now,
        review_notes=notes,
        bypassed=bypass,
    )
