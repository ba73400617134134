"""A job as the contract shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from jobs.access import AnyUser
from jobs.facets import facets_of
from jobs.models import Job, JobEvent

#: What the rooms above fill in, and what stands there when they have nothing to say.
FACET_FIELDS: dict[str, Any] = {
    "queue_status": None,
    "queue_position": None,
    "estimated_wait_seconds": None,
    "waiting_reason": None,
    "approval_status": None,
    "approval_id": None,
}


def as_utc(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and a `Z`."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def represent(jobs: Sequence[Job], viewer: AnyUser) -> list[dict[str, Any]]:
    """The jobs as `viewer` gets to see them, in their order."""
    told = facets_of(jobs, viewer, FACET_FIELDS)
    return [_represent(job, told[job.pk]) for job in jobs]


def _represent(job: Job, facet: dict[str, Any]) -> dict[str, Any]:
    extra = FACET_FIELDS | facet
    return {
        "job_id": job.pk,
        "job_type": job.job_type,
        "provider": job.provider,
        "external_id": job.external_id,
        "status": job.status,
        "config_name": job.config_name,
        "hardware_profile": job.hardware_profile or None,
        "organization": job.organization.name if job.organization else None,
        "submitted_by": job.submitted_by.get_username() if job.submitted_by else None,
        "created_at": as_utc(job.created_at),
        "queued_at": as_utc(job.queued_at),
        "started_at": as_utc(job.started_at),
        "completed_at": as_utc(job.completed_at),
        "duration_seconds": seconds_of(job),
        "cost_usd": float(job.cost_usd),
        "estimated_cost_usd": None if job.estimated_cost_usd is None else float(job.estimated_cost_usd),
        "error_message": job.error_message or None,
        "output_url": job.output_url or None,
        "stage": job.stage,
        "progress": job.progress,
        "last_log": job.last_log,
        "queue_status": extra["queue_status"],
        "queue_position": extra["queue_position"],
        "estimated_wait_seconds": extra["estimated_wait_seconds"],
        "waiting_reason": extra["waiting_reason"],
        "attempt": job.attempt,
        "approval_status": extra["approval_status"],
        "approval_id": extra["approval_id"],
        "correlation_id": job.correlation_id,
        "last_synced_at": as_utc(job.last_synced_at),
        "metadata": _metadata(job),
    }


def seconds_of(job: Job) -> float | None:
    """For how long it ran, or has run so far; None before it started."""
    if job.started_at is None:
        return None
    return round(((job.completed_at or timezone.now()) - job.started_at).total_seconds(), 3)


def _metadata(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = dict(job.metadata)
    if job.cancel_requested_at is not None:
        told["cancel_requested_at"] = as_utc(job.cancel_requested_at)
        told["cancel_requested_by"] = job.cancel_requested_by
    if job.sync_error:
        told["sync_error"] = job.sync_error
    if job.retry_of_id:
        told["retry_of"] = job.retry_of_id
    return told


def represent_event(event: JobEvent) -> dict[str, Any]:
    """One line of a job's history."""
    return {
        "id": event.pk,
        "at": as_utc(event.at),
        "subject": event.subject,
        "old": event.old or None,
        "new": event.new,
        "actor": event.actor,
        "source": event.source,
        "reason": event.reason or None,
        "correlation_id": event.correlation_id,
    }
