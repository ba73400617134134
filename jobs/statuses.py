"""The statuses of a job, their meanings, and the allowed moves."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models


class JobStatus(models.TextChoices):
    """Where a training job is in its life."""

    #: Accepted; waits in our queue, or for an approval.
    PENDING = "pending", "Waiting"
    #: Its dataset is on the way to the provider.
    UPLOADING = "uploading"
    #: The provider has it and has not started it yet.
    QUEUED = "queued"
    #: It trains.
    RUNNING = "running"
    #: It ended well. Final.
    COMPLETED = "completed"
    #: It ended with an error, or could not be started. Final.
    FAILED = "failed"
    #: Somebody stopped it, or its approval was refused or ran out. Final.
    CANCELLED = "cancelled"


#: What filters and figures call all jobs of a status. On its own each of the waiting ones is *Waiting* or *Held*.
GROUP_LABELS: Mapping[str, str] = dict(JobStatus.choices) | {JobStatus.PENDING: "Waiting or held"}

ACTIVE = (JobStatus.PENDING, JobStatus.UPLOADING, JobStatus.QUEUED, JobStatus.RUNNING)
TERMINAL = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
#: No training has been asked for, unless the job has a submission marker.
BEFORE_PROVIDER = (JobStatus.PENDING, JobStatus.UPLOADING)
#: The provider may know the job: worth asking about.
AT_PROVIDER = (JobStatus.UPLOADING, JobStatus.QUEUED, JobStatus.RUNNING)

#: A job moves forwards, may skip what was too quick to be seen, and never leaves its end.
ALLOWED: Mapping[str, frozenset[str]] = {
    status: frozenset(() if status in TERMINAL else (*ACTIVE[ACTIVE.index(status) + 1 :], *TERMINAL))
    for status in JobStatus
}

#: The words that providers use, in ours. A word that is not here leaves the job as it is.
PROVIDER_WORDS: Mapping[str, JobStatus] = {
    "starting": JobStatus.QUEUED,
    "queued": JobStatus.QUEUED,
    "processing": JobStatus.RUNNING,
    "running": JobStatus.RUNNING,
    "succeeded": JobStatus.COMPLETED,
    "completed": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "error": JobStatus.FAILED,
    "canceled": JobStatus.CANCELLED,
    "cancelled": JobStatus.CANCELLED,
    "aborted": JobStatus.CANCELLED,
}

#: How the note in its history begins that a job was asked to stop.
CANCEL_REQUESTED = "cancel requested"


class FuseAction(models.TextChoices):
    """What happens to a job that has cost what it may."""

    CANCEL = "cancel", "Cancel the job"
    ASK = "ask", "Request more, cancel beyond a grace"
