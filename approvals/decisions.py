"""The verbs of an approval request. Each says in its answer whether this call made the decision."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals.models import ApprovalRequest
from approvals.rules import Hold
from approvals.statuses import RequestStatus
from cloudtrain_site.events import unit_of_work
from cloudtrain_site.http_client import get_correlation_id
from cloudtrain_site.states import SYSTEM, Actor, Change, change_state
from jobs import lifecycle
from jobs.access import AnyUser, can_manage
from jobs.models import Job
from jobs.statuses import TERMINAL, JobStatus
from jobs.submission import digest_of
from queueing import claims, passes
from queueing.statuses import EntryStatus

logger = logging.getLogger("simpletuner.cloud.approvals")

NOTES_LIMIT = 2000
WORDS = {
    RequestStatus.APPROVED: "approved",
    RequestStatus.REJECTED: "rejected",
    RequestStatus.CANCELLED: "withdrawn",
}


def ask(job: Job, hold: Hold, *, actor: Actor, source: str) -> ApprovalRequest:
    """Put the question whether `job` may go, in the transaction that holds it."""
    now = timezone.now()
    request = ApprovalRequest(
        job=job,
        organization_id=job.organization_id,
        rule=hold.rule,
        rule_name=hold.rule.name,
        reason=hold.reason,
        requested_by_id=job.submitted_by_id,
        requested_at=now,
        expires_at=now + hold.rule.lifetime,
        config_digest=digest_of([job.config, job.dataloader_config, job.provider, job.hardware_profile]),
    )
    change = Change(
        subject=ApprovalRequest.SUBJECT,
        old="",
        new=RequestStatus.PENDING,
        actor=actor,
        source=source,
        reason=hold.reason,
        correlation_id=get_correlation_id(),
        at=now,
    )
    with unit_of_work():
        request.save(force_insert=True)
        request.record(change)
    return request


def why_not(user: AnyUser, request: ApprovalRequest) -> str | None:
    """Why `user` may not decide about `request`, in one sentence; None when they may."""
    if not can_manage(user, request.organization_id):
        return "Only leads and admins of the organization decide about its jobs."
    if request.requested_by_id == user.pk:
        return "Nobody decides about their own job: ask another lead or admin."
    return None


def how_decided(request: ApprovalRequest) -> str:
    """What became of a request, for somebody who came too late."""
    request.refresh_from_db()
    if request.status == RequestStatus.EXPIRED:
        return f"The approval expired at {_clock(request.expires_at)}."
    if request.status == RequestStatus.PENDING:
        return "The request is still pending."
    word = WORDS[RequestStatus(request.status)]
    return f"It was already {word} by {request.reviewed_by} at {_clock(request.reviewed_at)}."


def _clock(at: datetime | None) -> str:
    return "an unknown time" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def approve(request: ApprovalRequest, *, user: User, source: str, notes: str = "") -> bool:
    """Let the job take its turn. False: decided or expired before; a due request is expired on the spot."""
    if _expire_when_due(request, source):
        return False
    actor = Actor.of(user)
    with unit_of_work():
        if not _decide(request, RequestStatus.APPROVED, actor, source, notes):
            return False
        claims.release(request.job, actor=actor, source=source, reason=notes or "approved")
        passes.request_pass()
    logger.info("Approval request approved", extra=_extra(request, by=actor.name))
    return True


def reject(request: ApprovalRequest, *, user: User, source: str, notes: str) -> bool:
    """Refuse the job: its entry fails and it is cancelled. False: decided or expired before."""
    if _expire_when_due(request, source):
        return False
    actor = Actor.of(user)
    if not _refuse(request, RequestStatus.REJECTED, actor, source, notes):
        return False
    logger.info("Approval request rejected", extra=_extra(request, by=actor.name, reason=notes))
    return True


def cancel(request: ApprovalRequest, *, actor: Actor, source: str, reason: str = "") -> bool:
    """Take the request back, and its job with it. False: decided or expired before."""
    return _refuse(request, RequestStatus.CANCELLED, actor, source, reason or "withdrawn by the requester")


def expire(request: ApprovalRequest, *, source: str) -> bool:
    """Nobody decided in time: request expired, entry failed, job cancelled, in one transaction."""
    if not _refuse(request, RequestStatus.EXPIRED, SYSTEM, source, "nobody decided before the deadline"):
        return False
    logger.info("Approval request expired", extra=_extra(request))
    return True


def expire_due(*, source: str) -> int:
    """Expire every request whose deadline has passed. Returns how many; safe beside any other sweep."""
    due = due_requests()
    expired = sum(expire(request, source=source) for request in due.iterator(chunk_size=200))
    close_orphans(source=source)
    if expired:
        logger.info("Expired %d approval requests", expired, extra={"expired": expired})
    return expired


def due_requests() -> QuerySet[ApprovalRequest]:
    """Pending requests whose deadline has passed."""
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, expires_at__lte=timezone.now())
    return pending.select_related("job").order_by("expires_at")


def close_orphans(*, source: str) -> int:
    """Withdraw the requests of jobs that ended without a decision: what a lost signal would have done."""
    orphans = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, job__status__in=TERMINAL)
    return sum(withdraw(request, actor=SYSTEM, source=source) for request in orphans.select_related("job"))


def withdraw(request: ApprovalRequest, *, actor: Actor, source: str) -> bool:
    """The job has ended by itself: nothing is left to decide."""
    return _decide(request, RequestStatus.CANCELLED, actor, source, f"the job is {request.job.status}")


def _expire_when_due(request: ApprovalRequest, source: str) -> bool:
    return request.expires_at <= timezone.now() and expire(request, source=source)


def _refuse(request: ApprovalRequest, to: RequestStatus, actor: Actor, source: str, reason: str) -> bool:
    job = request.job
    with unit_of_work():
        if not _decide(request, to, actor, source, reason):
            return False
        lifecycle.finish(job, JobStatus.CANCELLED, actor=actor, source=source, reason=f"approval {to}: {reason}")
        claims.end(job, actor=actor, source=source, to=EntryStatus.FAILED)
    return True


def _decide(request: ApprovalRequest, to: RequestStatus, actor: Actor, source: str, notes: str) -> bool:
    now = timezone.now()
    # An approval must be in time by the same clock that the sweeper reads; expiry must really be due.
    in_time = {
        RequestStatus.APPROVED: Q(expires_at__gt=now),
        RequestStatus.REJECTED: Q(expires_at__gt=now),
        RequestStatus.EXPIRED: Q(expires_at__lte=now),
    }
    return change_state(
        request,
        to,
        actor=actor,
        source=source,
        reason=notes,
        only_if=in_time.get(to),
        reviewed_by=actor.name,
        reviewed_at=now,
        review_notes=notes,
    )


def _extra(request: ApprovalRequest, **more: object) -> dict[str, object]:
    return {"job_id": request.job_id, "approval_id": request.pk, "rule": request.rule_name, **more}
