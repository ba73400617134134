"""What a person decides about a job of which nobody knows whether its provider has it."""

from __future__ import annotations

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.models import Job
from jobs.statuses import BEFORE_PROVIDER, JobStatus
from queueing import claims, dispatch, passes
from queueing.models import QueueEntry
from queueing.operations import By


def resubmit(entry: QueueEntry, by: By) -> bool:
    """The provider doesn't have it: it takes its turn once more. False: it is not, or no longer, unconfirmed."""
    with unit_of_work():
        # It may have turned up just now, by a webhook.
        if not Job.objects.filter(pk=entry.job_id, status__in=BEFORE_PROVIDER).exists():
            return False
        if not claims.resubmit(entry, actor=by.actor, source=by.source, reason=by.reason):
            return False
        passes.request_pass()
    return True


def give_up(entry: QueueEntry, by: By) -> bool:
    """It is not to run: job and entry end, and the slot is free. False: it is not, or no longer, unconfirmed."""
    if entry.unconfirmed_at is None:
        return False
    job = entry.job
    to = JobStatus.FAILED if job.cancel_requested_at is None else JobStatus.CANCELLED
    reason = f"given up, unconfirmed: {by.reason}"
    with unit_of_work():
        if not dispatch.give_up(entry, job, to, reason, actor=by.actor, source=by.source):
            return False
        passes.request_pass()
    return True
