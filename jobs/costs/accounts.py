"""The committed sums of the jobs of a page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jobs.models import Job, JobAccount
from jobs.permissions import AnyUser


def facet(jobs: Sequence[Job], viewer: AnyUser, requested: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return `committed_usd`, see `jobs.extensions`. One query for a page."""
    if "committed_usd" not in requested:
        return {}
    accounts = JobAccount.objects.filter(job__in=[job.pk for job in jobs]).values_list("job_id", "spent", "held")
    return {job_id: {"committed_usd": float(spent + held)} for job_id, spent, held in accounts}
