"""The committed sums of the jobs of a page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cloudtrain_site.database.prepared import Prepared
from jobs.models import Job, JobAccount
from jobs.permissions import AnyUser

_ACCOUNTS = Prepared(lambda *jobs: JobAccount.objects.filter(job__in=jobs).values_list("job_id", "spent", "held"))


def facet(jobs: Sequence[Job], viewer: AnyUser, requested: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return `committed_usd`, see `jobs.extensions`. One query for a page."""
    if "committed_usd" not in requested:
        return {}
    accounts = _ACCOUNTS.of_each([job.pk for job in jobs])
    return {job_id: {"committed_usd": float(spent + held)} for job_id, spent, held in accounts}
