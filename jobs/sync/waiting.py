"""Why jobs wait at their providers, in the provider's words or as the last look at its cluster shows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jobs.models import Job
from jobs.permissions import AnyUser
from jobs.statuses import JobStatus
from jobs.sync.clusters import unrunnable_profiles


def reasons_at_providers(jobs: Sequence[Job]) -> dict[str, str]:
    """Return by job id why a job that its provider has doesn't run yet; those of which nothing is known are left out.

    One query at most.
    """
    queued = [job for job in jobs if job.status == JobStatus.QUEUED]
    unrunnable = unrunnable_profiles({job.provider for job in queued})
    found = {job.pk: _reason(job, unrunnable.get((job.provider, job.hardware_profile), "")) for job in queued}
    return {job_id: reason for job_id, reason in found.items() if reason}


def _reason(job: Job, unrunnable: str) -> str:
    reason = unrunnable or job.provider_waiting_reason or ""
    if job.cancel_requested_at is None:
        return reason
    return " ".join(filter(None, [f"A stop was requested, but {job.provider} has not confirmed it yet.", reason]))


def facet(jobs: Sequence[Job], viewer: AnyUser, requested: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return `waiting_reason` of the jobs that wait at their providers, see `jobs.extensions`."""
    if "waiting_reason" not in requested:
        return {}
    return {job_id: {"waiting_reason": reason} for job_id, reason in reasons_at_providers(jobs).items()}
