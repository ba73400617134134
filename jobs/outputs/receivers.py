"""What the end of a job means for its results."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver
from django_q.tasks import async_task

from cloudtrain_site.states import Change
from jobs.models import Job
from jobs.outputs.fetching import request_fetch
from jobs.outputs.store import deletes_output
from jobs.signals import job_status_changed
from jobs.statuses import JobStatus

PREPARE = "jobs.tasks.prepare_gallery"


@receiver(job_status_changed, dispatch_uid="jobs.fetch_results")
def fetch_results(*, job: Job, change: Change, **kwargs: Any) -> None:
    """Have results copied before their provider deletes them. Should a crash lose this, the upkeep does it."""
    if change.new == JobStatus.COMPLETED:
        request_fetch(job)


@receiver(job_status_changed, dispatch_uid="jobs.prepare_gallery")
def prepare_gallery(*, job: Job, change: Change, **kwargs: Any) -> None:
    """Have the first pictures made small before somebody comes to see them. Should this be lost, that visit does it."""
    if change.new == JobStatus.COMPLETED and change.old != change.new and not deletes_output(job):
        async_task(PREPARE, job.pk)
