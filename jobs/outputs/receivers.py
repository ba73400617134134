"""What the end of a job means for its results."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from cloudtrain_site.states import Change
from jobs.models import Job
from jobs.outputs.fetching import request_fetch
from jobs.signals import job_status_changed
from jobs.statuses import JobStatus


@receiver(job_status_changed, dispatch_uid="jobs.fetch_results")
def fetch_results(*, job: Job, change: Change, **kwargs: Any) -> None:
    """Have results copied before their provider deletes them. Should a crash lose this, the upkeep does it."""
    if change.new == JobStatus.COMPLETED:
        request_fetch(job)
