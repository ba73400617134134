"""The deadline: whose time is over, by the loop, by cron, and by who comes too late."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest
from approvals.notifications import enqueue_sending
from approvals.statuses import RequestStatus
from cloudtrain_site.states import SYSTEM
from jobs.statuses import TERMINAL
from queueing import claims
from queueing.models import QueueEntry

logger = logging.getLogger("simpletuner.cloud.approvals")

#: So many are read at a time. Without their configs: ten thousand of those may be gigabytes.
BATCH_SIZE = 200
LARGE_COLUMNS = ("terms", "job__config", "job__dataloader_config")

#: Changes stand in line for SQLite's writer (`WriteQueue`), and are never passed by this loop. What writes outside of
#: a unit of work, a session or a task, asks SQLite itself again and again: a rest now and then lets it in.
WORK_SECONDS, REST_SECONDS = 0.033, 0.002


def due_requests() -> QuerySet[ApprovalRequest]:
    """Pending requests whose deadline has passed, the longest overdue first."""
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, expires_at__lte=timezone.now())
    return pending.select_related("job").order_by("expires_at", "id")


def expire_due(*, source: str) -> int:
    """Expire every request whose deadline has passed. Returns how many; safe beside any other sweep.

    Each is a transaction of its own, so that nobody waits for more than one of them.
    """
    pace, started = _Pace(), time.monotonic()
    expired = sum(_expire_batch(batch, source, pace) for batch in _batches(due_requests().defer(*LARGE_COLUMNS)))
    close_orphans(source=source)
    if expired:
        enqueue_sending()
        duration_ms = round((time.monotonic() - started) * 1000, 1)
        logger.info("Expired %d approval requests", expired, extra={"expired": expired, "duration_ms": duration_ms})
    return expired


def _batches(due: QuerySet[ApprovalRequest]) -> Iterator[list[ApprovalRequest]]:
    """Each row once, however many there are, and without an open cursor between the transactions."""
    batch = list(due[:BATCH_SIZE])
    while batch:
        yield batch
        last = batch[-1]
        later = Q(expires_at__gt=last.expires_at) | Q(expires_at=last.expires_at, pk__gt=last.pk)
        batch = list(due.filter(later)[:BATCH_SIZE])


class _Pace:
    """Leaves SQLite's one writer to the others now and then. PostgreSQL has many writers, and needs no rest."""

    def __init__(self) -> None:
        self._rest_at = time.monotonic() + WORK_SECONDS

    def rest_when_due(self) -> None:
        """Between two transactions: sleep when it is time."""
        if connection.vendor == "sqlite" and time.monotonic() >= self._rest_at:
            time.sleep(REST_SECONDS)
            self._rest_at = time.monotonic() + WORK_SECONDS


def _expire_batch(batch: list[ApprovalRequest], source: str, pace: _Pace) -> int:
    """Expire each. What was read of them together is compared again by each one's own update."""
    entries = claims.live_entries(request.job for request in batch)
    expired = 0
    for request in batch:
        expired += _expire_safely(request, source, entries.get(request.job_id))
        pace.rest_when_due()
    return expired


def _expire_safely(request: ApprovalRequest, source: str, entry: QueueEntry | None) -> bool:
    """One request's surprise must not keep the others of the sweep from their end."""
    try:
        return decisions.expire(request, source=source, entry=entry)
    except Exception:
        logger.exception("An approval request could not be expired", extra=request.log_fields())
        return False


def close_orphans(*, source: str) -> int:
    """Withdraw the requests of jobs that ended without a decision: what a lost signal would have done."""
    orphans = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, job__status__in=TERMINAL)
    requests = orphans.select_related("job").defer(*LARGE_COLUMNS)
    return sum(decisions.withdraw(request, actor=SYSTEM, source=source) for request in requests)
