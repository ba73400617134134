"""A provider's snapshot as columns of a job: what it reports, its progress, its end. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from jobs.configs.secrets import without_secrets
from jobs.costs.pace import pace_of
from jobs.failures.cause import line_of
from jobs.models import Job
from jobs.providers import deletes_logs
from jobs.providers.base import Snapshot
from jobs.providers.clusters.view import storable
from jobs.providers.progress import percent_of
from jobs.statuses import ACTIVE, ALLOWED, JobStatus

#: For the log of a running job that nobody views.
LOG_PAUSE = timedelta(minutes=5)
A_MILLISECOND = timedelta(milliseconds=1)
MAX_REASON_CHARACTERS = 300


def staged_fields(job: Job) -> dict[str, Any]:
    """Return the columns that reset the progress once the dataset is there: the training's begins anew."""
    return {"stage": None, "progress": None, "last_log": None} if job.status == JobStatus.UPLOADING else {}


def log_due_fields(job: Job, to: str) -> dict[str, Any]:
    """Return when to fetch the log from a provider that deletes it: at intervals, and at once when the job ended."""
    if not deletes_logs(job.provider):
        return {}
    return {"log_due_at": timezone.now() + (LOG_PAUSE if to in ACTIVE else timedelta())}


def moves(job: Job, snapshot: Snapshot) -> bool:
    """Whether the snapshot's status is ahead of the job's."""
    return snapshot.status is not None and snapshot.status in ALLOWED[job.status]


def details_in(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """Return what the snapshot says besides the status and the job doesn't have yet, by column."""
    fields = {**reported_fields(job, snapshot), **progress_fields(job, snapshot)}
    if snapshot.status == job.status:
        fields.update(waiting_fields(job, job.status, snapshot))
    if job.is_terminal and job.output_url.startswith("file:"):
        fields.pop("output_url", None)  # it was fetched, and what its provider says of it is soon a dead address
    return {name: value for name, value in fields.items() if getattr(job, name) != value}


def reported_fields(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot's own values, by column; those that it lacks are left out."""
    error = _scrubbed(job, snapshot.error_message)
    fields = {
        "metadata": {**job.metadata, **snapshot.metadata} if snapshot.metadata else None,
        "started_at": began_at(snapshot, job.queued_at),
        "error_message": error,
        "error_line": None if error is None else line_of(error),
        "output_url": _scrubbed(job, snapshot.output_url),
        "cost_usd": snapshot.cost_usd,
    }
    return {name: value for name, value in fields.items() if value is not None} | _doubt_of_cost(snapshot)


def _doubt_of_cost(snapshot: Snapshot) -> dict[str, Any]:
    """Return the column that says why the cost is not known; empty where the snapshot says nothing of it."""
    is_known = snapshot.cost_usd is not None
    return {"cost_doubt": None if is_known else snapshot.cost_doubt} if is_known or snapshot.cost_doubt else {}


def waiting_fields(job: Job, to: str, snapshot: Snapshot) -> dict[str, Any]:
    """Return why its provider lets it wait, by column: nothing once it runs or has ended."""
    reason = snapshot.waiting_reason if to == JobStatus.QUEUED else None
    return {"provider_waiting_reason": _scrubbed(job, reason and storable(reason)[:MAX_REASON_CHARACTERS]) or None}


def began_at(snapshot: Snapshot, queued_at: datetime | None) -> datetime | None:
    """Return when the training began, by its provider's clock, but never before it was queued by ours."""
    return max(filter(None, (snapshot.started_at, queued_at))) if snapshot.started_at else None


def progress_fields(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """Return the progress in the log, by column. A known percentage stays until a later one comes.

    Percentage and step are always of the same report: pages show them beside each other.
    """
    progress = snapshot.progress
    if progress is None or _is_behind(job, snapshot):
        return {}
    fields = {
        "stage": progress.stage,
        "progress": progress.percent,
        "total_steps": progress.total,
        "last_log": _scrubbed(job, progress.last_log),
    }
    if progress.step is not None:
        # The end of a long log may lack the total, which an earlier piece had.
        percent = percent_of(progress.step, progress.total or job.total_steps)
        fields.update(step=progress.step, progress=progress.percent if percent is None else percent)
    known = {name: value for name, value in fields.items() if value is not None}
    # A percentage by epochs, or another total, says nothing of the step known so far.
    has_other = progress.percent is not None or progress.total not in (None, job.total_steps)
    return known | {"step": None} if progress.step is None and has_other else known


def _is_behind(job: Job, snapshot: Snapshot) -> bool:
    """Whether the snapshot comes with less of the log than we have."""
    return snapshot.log is not None and snapshot.log_start + len(snapshot.log.encode()) < job.log_size


def _scrubbed(job: Job, text: str | None) -> str | None:
    """Mask secrets, which a provider may repeat in its messages."""
    return None if text is None else without_secrets(job, text)


def ending_fields(job: Job, to: str, snapshot: Snapshot) -> dict[str, Any]:
    if to in ACTIVE:
        return {}
    fields = end_fields(began_at(snapshot, job.queued_at) or job.started_at, snapshot.completed_at or timezone.now())
    # Of an end that can't be true only the moment at which we heard of it is known.
    return {**fields, "duration_ms": None} if "completed_at" in snapshot.refused else fields


def pace_fields(job: Job, snapshot: Snapshot, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the completed run tells of the time of a step, by column; `fields` are written along with it."""
    step, took = fields.get("step", job.step), fields.get("duration_ms", job.duration_ms)
    pace = None
    # A step on other hardware than was asked for tells nothing of it. The config is read last: it may be deferred.
    if step and took and snapshot.hardware in (None, job.hardware_profile):
        pace = pace_of(job.config, job.dataloader_config, step=step, first_step=snapshot.first_step, duration_ms=took)
    kind, seconds = pace or (None, None)
    return {"training_kind": kind, "seconds_per_step": seconds}


def end_fields(started_at: datetime | None, completed_at: datetime) -> dict[str, Any]:
    """The columns that tell when a job ended, how long it ran, and that it waits for nothing any more."""
    duration_ms = milliseconds_between(started_at, completed_at)
    return {"completed_at": completed_at, "duration_ms": duration_ms, "provider_waiting_reason": None}


def milliseconds_between(started_at: datetime | None, ended_at: datetime) -> int | None:
    """None without a start, and 0 with one that is later than the end."""
    return None if started_at is None else max(0, round((ended_at - started_at) / A_MILLISECOND))
