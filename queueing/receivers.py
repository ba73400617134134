"""The queue's receivers of job changes."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from cloudtrain_site.states import Change, Source
from jobs.costs import ledger
from jobs.models import Job
from jobs.signals import job_fuse_set, job_status_changed
from jobs.statuses import AT_PROVIDER, BEFORE_PROVIDER, TERMINAL
from queueing import claims, passes
from queueing.models import QueueEntry
from queueing.statuses import WAITING, EntryStatus


@receiver(job_status_changed, dispatch_uid="queueing.free_slot")
def free_slot(*, job: Job, change: Change, **kwargs: Any) -> None:
    """End the entry of a job that ended, and request a pass. Should a crash lose this, the next pass does it."""
    if (
        change.new in TERMINAL
        and change.old  # a training that was found ended had no place in the queue
        and QueueEntry.SUBJECT not in change.along
        and claims.end(job, actor=change.actor, source=change.source)
    ):
        passes.request_pass()


@receiver(job_fuse_set, dispatch_uid="queueing.needs_of_job")
def needs_of_job(*, job: Job, **kwargs: Any) -> None:
    """Let the budgets go by what the job may cost now, in the transaction of the change."""
    waiting = QueueEntry.objects.filter(job=job, status__in=WAITING)
    if waiting.update(needs_usd=ledger.expected_cost(job)):
        passes.request_pass()


@receiver(job_status_changed, dispatch_uid="queueing.keep_slot")
def keep_slot(*, job: Job, change: Change, **kwargs: Any) -> None:
    """Confirm the claim of a job whose provider was first heard of by a webhook: no search is needed.

    Should a crash lose this, the next search does it.
    """
    if change.source == Source.WEBHOOK and change.old in BEFORE_PROVIDER and change.new in AT_PROVIDER:
        entry = claims.live_entry(job)
        if entry is not None and entry.status == EntryStatus.DISPATCHING:
            claims.confirm(entry)
