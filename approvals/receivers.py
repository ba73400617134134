"""The approvals' receivers of job changes."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from approvals import decisions, raises
from approvals.models import ApprovalRequest
from approvals.statuses import RequestStatus
from cloudtrain_site.states import SYSTEM, Change, Source
from jobs.models import Job
from jobs.signals import job_fuse_set, job_status_changed
from jobs.statuses import BEFORE_PROVIDER, TERMINAL


@receiver(job_status_changed, dispatch_uid="approvals.withdraw_request")
def withdraw_request(*, job: Job, change: Change, **kwargs: Any) -> None:
    """Withdraw the pending request of a held job that ended. Should a crash lose this, the expiry sweep does it."""
    may_be_asked_for = change.old in BEFORE_PROVIDER or job.max_cost_usd is not None
    if change.new in TERMINAL and may_be_asked_for and ApprovalRequest.SUBJECT not in change.along:
        request = ApprovalRequest.objects.filter(job=job, status=RequestStatus.PENDING).first()
        if request is not None:
            decisions.withdraw(request, actor=change.actor, source=change.source)


@receiver(job_fuse_set, dispatch_uid="approvals.follow_fuse")
def follow_fuse(*, job: Job, **kwargs: Any) -> None:
    """Keep the approval in step with what its job may cost, in the transaction of the change."""
    for request in raises.follow_fuse(job):
        decisions.withdraw(request, actor=SYSTEM, source=Source.API, reason="the job may already cost that much")
