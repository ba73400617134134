"""The verbs of a job whose dataset is on the way to its provider."""

from __future__ import annotations

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor, Source, change_state
from jobs.lifecycle import may_continue
from jobs.models import Job
from jobs.publishing import publish_progress
from jobs.statuses import JobStatus


def begin_staging(job: Job, stage: str, *, actor: Actor) -> bool:
    """Record that the job's dataset is being transferred. False: the job was cancelled or has ended."""
    if job.status == JobStatus.UPLOADING:
        return may_continue(job)
    return change_state(
        job,
        JobStatus.UPLOADING,
        actor=actor,
        source=Source.DISPATCHER,
        only_if={"cancel_requested_at": None},
        stage=stage,
        progress=0.0,
    )


def record_staging_progress(job: Job, percent: float, message: str) -> bool:
    """Record the progress of the transfer. False: the job was cancelled or has ended, so the transfer is to stop."""
    if (job.progress, job.last_log) == (percent, message):
        return may_continue(job)
    uploading = Job.objects.filter(pk=job.pk, status=JobStatus.UPLOADING, cancel_requested_at=None)
    with unit_of_work():
        if not uploading.update(progress=percent, last_log=message):
            return False
        job.progress, job.last_log = percent, message
        publish_progress(job)
    return True
