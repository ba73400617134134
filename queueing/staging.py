"""The claims whose dataset is being transferred: no training has been requested yet."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.datasets import staging as job_staging
from jobs.models import Job
from jobs.providers import UnknownProviderError, get_provider
from queueing.claims import DISPATCHER
from queueing.claims import LEASE as CALL_LEASE
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus

#: Renewed during the transfer; after it another machine begins again.
LEASE = timedelta(seconds=30)
UPLOADING = "Uploading dataset"


def begin(entry: QueueEntry, job: Job) -> bool:
    """Leave a claimed entry to the transfers. False: the job ended, or the claim was taken over."""
    if _own_claim(entry).filter(staging_since__gte=entry.dispatched_at).exists():
        return True  # since a call whose connection was lost with its answer
    stage = _stage_of(job.provider)
    with unit_of_work():
        # The lease ends at once, so that the machine with the archive can claim it.
        now = timezone.now()
        if not _own_claim(entry).update(staging_since=now, lease_until=now):
            return False
        return job_staging.begin_staging(job, stage, actor=DISPATCHER)


def _stage_of(provider: str) -> str:
    try:
        return getattr(get_provider(provider), "staging", UPLOADING)
    except UnknownProviderError:
        return UPLOADING  # the transfer gives the job back to the queue


def waiting() -> Sequence[QueueEntry]:
    """Return the entries that no machine is working on, the longest waiting first, at most 50."""
    free = QueueEntry.objects.filter(
        status=EntryStatus.DISPATCHING, staging_since__isnull=False, lease_until__lte=timezone.now()
    )
    return list(free.select_related("job__dataset", "job__organization").order_by("lease_until", "id")[:50])


def claim_staging(entry: QueueEntry) -> bool:
    """Take over a claim whose dataset has to be transferred. False: another process was quicker."""
    token, lease, host = secrets.token_hex(16), timezone.now() + LEASE, socket.gethostname()
    free = _own_claim(entry).filter(lease_until=entry.lease_until)
    if not free.update(claim_token=token, lease_until=lease, claimed_on=host):
        return False
    entry.claim_token, entry.lease_until, entry.claimed_on = token, lease, host
    return True


def renew(entry: QueueEntry) -> bool:
    """Extend the lease during a transfer. False: the claim was taken over, or the job has ended."""
    now = timezone.now()
    if entry.lease_until is not None and entry.lease_until - now > LEASE / 2:
        return True
    entry.lease_until = now + LEASE
    return bool(_own_claim(entry).update(lease_until=entry.lease_until))


def end(entry: QueueEntry) -> bool:
    """End the staging: the dataset is there, and from here on it may cost money. False: the claim was taken over."""
    return bool(_own_claim(entry).update(staging_since=None, lease_until=timezone.now() + CALL_LEASE))


def _own_claim(entry: QueueEntry) -> QuerySet[QueueEntry]:
    return QueueEntry.objects.filter(pk=entry.pk, status=EntryStatus.DISPATCHING, claim_token=entry.claim_token)
