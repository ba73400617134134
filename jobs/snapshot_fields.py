"""A provider's snapshot as the columns of a job: what it says, how far it is, how it ended. Writes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobs.config_secrets import without_secrets
from jobs.models import Job
from jobs.providers import DELETES_LOGS
from jobs.providers.base import Snapshot
from jobs.statuses import ACTIVE, ALLOWED, JobStatus

#: How often the log of a running job is fetched that nobody looks at.
LOG_PAUSE = timedelta(minutes=5)


def staged_fields(job: Job) -> dict[str, Any]:
    """The progress of a training begins anew when its dataset is there."""
    return {"stage": None, "progress": None, "last_log": None} if job.status == JobStatus.UPLOADING else {}


def log_due_fields(job: Job, to: str) -> dict[str, Any]:
    """When the log of a provider that deletes it is to be fetched: now and then, and at once when the job ended."""
    if job.provider not in DELETES_LOGS:
        return {}
    return {"log_due_at": timezone.now() + (LOG_PAUSE if to in ACTIVE else timedelta())}


def moves(job: Job, snapshot: Snapshot) -> bool:
    """Whether the snapshot is ahead of the job."""
    return snapshot.status is not None and snapshot.status in ALLOWED[job.status]


def details_in(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """What the snapshot says of the job besides its status that the job doesn't have yet, by column."""
    fields = {**reported_fields(job, snapshot), **progress_fields(job, snapshot)}
    return {name: value for name, value in fields.items() if getattr(job, name) != value}


def reported_fields(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot's own words, by column; what it doesn't say is left out."""
    fields = {
        "metadata": {**job.metadata, **snapshot.metadata} if snapshot.metadata else None,
        "started_at": snapshot.started_at,
        "error_message": _scrubbed(job, snapshot.error_message),
        "output_url": _scrubbed(job, snapshot.output_url),
        "cost_usd": snapshot.cost_usd,
    }
    return {name: value for name, value in fields.items() if value is not None}


def progress_fields(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """What the log tells, by column. A percentage once known stays until a later one comes."""
    progress = snapshot.progress
    if progress is None or (snapshot.log is not None and len(snapshot.log.encode()) < job.log_size):
        return {}  # nothing, or read from less of the log than we have
    fields = {
        "stage": progress.stage,
        "progress": progress.percent,
        "step": progress.step,
        "total_steps": progress.total,
        "last_log": _scrubbed(job, progress.last_log),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _scrubbed(job: Job, text: str | None) -> str | None:
    """A provider may repeat in its words what it was given."""
    return None if text is None else without_secrets(job, text)


def ending_fields(to: str, snapshot: Snapshot) -> dict[str, Any]:
    return {} if to in ACTIVE else {"completed_at": snapshot.completed_at or timezone.now()}
