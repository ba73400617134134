"""Expiry of requests whose deadline has passed, by the loop and by the command."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest
from approvals.statuses import RequestStatus
from cloudtrain_site.states import SYSTEM
from jobs.statuses import TERMINAL
from queueing import claims
from queueing.models import QueueEntry

logger = logging.getLogger("simpletuner.cloud.approvals")

#: The requests of a batch are read without configs: those of ten thousand may be gigabytes.
BATCH_SIZE = 200
LARGE_COLUMNS = ("terms", "job__config", "job__dataloader_config")

#: Units of work queue for SQLite's writer (`WriteQueue`), so this loop never passes them. A write outside of a
#: unit of work, of a session or a task, polls SQLite for the lock: a rest now and then lets it in.
WORK_SECONDS, REST_SECONDS = 0.033, 0.002


def due_requests() -> QuerySet[ApprovalRequest]:
    """Return the pending requests whose deadline has passed, the longest overdue first."""
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, expires_at__lte=timezone.now())
    return pending.select_related("job").order_by("expires_at", "id")


def expire_due(*, source: str) -> int:
    """Expire every request whose deadline has passed. Returns how many; safe beside other sweeps.

    Each is a transaction of its own, so that other writers wait for one of them at most.
    """
    pace, started = _Pace(), time.monotonic()
    expired = sum(_expire_batch(batch, source, pace) for batch in _batches(due_requests().defer(*LARGE_COLUMNS)))
    close_orphans(source=source)
    if expired:
        duration_ms = round((time.monotonic() - started) * 1000, 1)
        logger.info("Expired %d approval requests", expired, extra={"expired": expired, "duration_ms": duration_ms})
    return expired


def _batches(due: QuerySet[ApprovalRequest]) -> Iterator[list[ApprovalRequest]]:
    """Yield each row once, in batches by key, without an open cursor between the transactions."""
    batch = list(due[:BATCH_SIZE])
    while batch:
        yield batch
        last = batch[-1]
        later = Q(expires_at__gt=last.expires_at) | Q(expires_at=last.expires_at, pk__gt=last.pk)
        batch = list(due.filter(later)[:BATCH_SIZE])


class _Pace:
    """Leaves SQLite's writer to others now and then. PostgreSQL has many writers, and needs no rest."""

    def __init__(self) -> None:
        self._rest_at = time.monotonic() + WORK_SECONDS

    def rest_when_due(self) -> None:
        """Sleep when a rest is due. Call it between two transactions."""
        if connection.vendor == "sqlite" and time.monotonic() >= self._rest_at:
            time.sleep(REST_SECONDS)
            self._rest_at = time.monotonic() + WORK_SECONDS


def _expire_batch(batch: list[ApprovalRequest], source: str, pace: _Pace) -> int:
    """Expire each request. They are read together, so each update compares the read state again."""
    entries = claims.live_entries(request.job for request in batch)
    expired = 0
    for request in batch:
        expired += _expire_safely(request, source, entries.get(request.job_id))
        pace.rest_when_due()
    return expired


def _expire_safely(request: ApprovalRequest, source: str, entry: QueueEntry | None) -> bool:
    """Expire one request. Its exception is logged, so that the sweep goes on with the others."""
    try:
        return decisions.expire(request, source=source, entry=entry)
    except Exception:
        logger.exception("An approval request could not be expired", extra=request.log_fields())
        return False


def close_orphans(*, source: str) -> int:
    """Withdraw the pending requests of jobs that have ended, after a lost signal. Returns how many."""
    orphans = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, job__status__in=TERMINAL)
    requests = orphans.select_related("job").defer(*LARGE_COLUMNS)
    return sum(decisions.withdraw(request, actor=SYSTEM, source=source) for request in requests)
