"""What the approvals add to a job as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from approvals.models import ApprovalRequest
from jobs.access import AnyUser
from jobs.models import Job


def approvals_of(jobs: Sequence[Job], viewer: AnyUser) -> Mapping[str, Mapping[str, Any]]:
    """The newest request of each job: its status and id."""
    requests = ApprovalRequest.objects.filter(job__in=[job.pk for job in jobs]).order_by("id")
    return {
        job_id: {"approval_status": status, "approval_id": pk}
        for job_id, status, pk in requests.values_list("job_id", "status", "pk")
    }
