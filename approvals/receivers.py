"""The approvals' receivers of job changes."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from approvals import decisions
from approvals.models import ApprovalRequest
from approvals.statuses import RequestStatus
from cloudtrain_site.states import Change
from jobs.models import Job
from jobs.signals import job_status_changed
from jobs.statuses import BEFORE_PROVIDER, TERMINAL


@receiver(job_status_changed, dispatch_uid="approvals.withdraw_request")
def withdraw_request(*, job: Job, change: Change, **kwargs: Any) -> None:
    """Withdraw the pending request of a held job that ended. Should a crash lose this, the expiry sweep does it."""
    was_held = change.old in BEFORE_PROVIDER and ApprovalRequest.SUBJECT not in change.along
    if change.new in TERMINAL and was_held:
        request = ApprovalRequest.objects.filter(job=job, status=RequestStatus.PENDING).first()
        if request is not None:
            decisions.withdraw(request, actor=change.actor, source=change.source)
