"""What the queue does about news of the jobs."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from cloudtrain_site.states import Change, Source
from jobs.models import Job
from jobs.signals import job_status_changed
from jobs.statuses import AT_PROVIDER, BEFORE_PROVIDER, TERMINAL
from queueing import claims, passes
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus


@receiver(job_status_changed, dispatch_uid="queueing.free_slot")
def free_slot(*, job: Job, change: Change, **kwargs: Any) -> None:
    """A job ended: end its entry and let the next one go. Should a crash lose this, the next pass does it."""
    if (
        change.new in TERMINAL
        and QueueEntry.SUBJECT not in change.along
        and claims.end(job, actor=change.actor, source=change.source)
    ):
        passes.request_pass()


@receiver(job_status_changed, dispatch_uid="queueing.keep_slot")
def keep_slot(*, job: Job, change: Change, **kwargs: Any) -> None:
    """A webhook told what the answer to the submission did not: nobody has to look for it, or decide about it.

    Should a crash lose this, whoever looks for the training next does it.
    """
    if change.source == Source.WEBHOOK and change.old in BEFORE_PROVIDER and change.new in AT_PROVIDER:
        entry = claims.live_entry(job)
        if entry is not None and entry.status == EntryStatus.DISPATCHING:
            claims.confirm(entry)
