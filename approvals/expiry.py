"""The deadline: whose time is over, by the loop, by cron, and by who comes too late."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest
from approvals.notices import send_soon
from approvals.statuses import RequestStatus
from cloudtrain_site.states import SYSTEM
from jobs.statuses import TERMINAL

logger = logging.getLogger("simpletuner.cloud.approvals")

#: So many are read at a time. Without their configs: ten thousand of those may be gigabytes.
BATCH = 200
HEAVY = ("terms", "job__config", "job__dataloader_config")


def due_requests() -> QuerySet[ApprovalRequest]:
    """Pending requests whose deadline has passed, the longest overdue first."""
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, expires_at__lte=timezone.now())
    return pending.select_related("job").order_by("expires_at", "id")


def expire_due(*, source: str) -> int:
    """Expire every request whose deadline has passed. Returns how many; safe beside any other sweep.

    Each is a transaction of its own, so that nobody waits for more than one of them.
    """
    expired = sum(_expire_safely(request, source) for request in _one_by_one(due_requests().defer(*HEAVY)))
    close_orphans(source=source)
    if expired:
        send_soon()
        logger.info("Expired %d approval requests", expired, extra={"expired": expired})
    return expired


def _one_by_one(due: QuerySet[ApprovalRequest]) -> Iterator[ApprovalRequest]:
    """Each row once, however many there are, and without an open cursor between the transactions."""
    batch = list(due[:BATCH])
    while batch:
        yield from batch
        last = batch[-1]
        later = Q(expires_at__gt=last.expires_at) | Q(expires_at=last.expires_at, pk__gt=last.pk)
        batch = list(due.filter(later)[:BATCH])


def _expire_safely(request: ApprovalRequest, source: str) -> bool:
    """One request's surprise must not keep the others of the sweep from their end."""
    try:
        return decisions.expire(request, source=source)
    except Exception:
        logger.exception("An approval request could not be expired", extra=request.log_fields())
        return False


def close_orphans(*, source: str) -> int:
    """Withdraw the requests of jobs that ended without a decision: what a lost signal would have done."""
    orphans = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, job__status__in=TERMINAL)
    found = orphans.select_related("job").defer(*HEAVY)
    return sum(decisions.withdraw(request, actor=SYSTEM, source=source) for request in found)
