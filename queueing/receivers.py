"""What the queue does about news of the jobs."""

from __future__ import annotations

from typing import Any

from cloudtrain_site.states import Change
from jobs.models import Job
from jobs.statuses import TERMINAL
from queueing import claims, passes
from queueing.models import QueueEntry


def free_slot(*, job: Job, change: Change, **kwargs: Any) -> None:
    """A job ended: end its entry and let the next one go. Should a crash lose this, the next pass does it."""
    if (
        change.new in TERMINAL
        and QueueEntry.SUBJECT not in change.along
        and claims.end(job, actor=change.actor, source=change.source)
    ):
        passes.request_pass()
