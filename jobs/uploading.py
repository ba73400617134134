"""A job while its dataset is on the way to its provider."""

from __future__ import annotations

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor, Source, change_state
from jobs.lifecycle import may_go_on, tell_progress
from jobs.models import Job
from jobs.statuses import JobStatus


def begin_staging(job: Job, stage: str, *, actor: Actor) -> bool:
    """Say that the job's dataset is on its way to the provider. False: the job was cancelled or ended meanwhile."""
    if job.status == JobStatus.UPLOADING:
        return may_go_on(job)
    return change_state(
        job,
        JobStatus.UPLOADING,
        actor=actor,
        source=Source.DISPATCHER,
        only_if={"cancel_requested_at": None},
        stage=stage,
        progress=0.0,
    )


def note_staging(job: Job, percent: float, words: str) -> bool:
    """Say how far the dataset is. False: nobody wants it any more, since the job was cancelled or ended."""
    if (job.progress, job.last_log) == (percent, words):
        return may_go_on(job)
    uploading = Job.objects.filter(pk=job.pk, status=JobStatus.UPLOADING, cancel_requested_at=None)
    with unit_of_work():
        if not uploading.update(progress=percent, last_log=words):
            return False
        job.progress, job.last_log = percent, words
        tell_progress(job)
    return True
