"""The check before a provider is called: only the job that was approved may run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.utils import timezone

from approvals.approved_terms import differences, digest_of_terms, possible_terms
from approvals.creation import renew_request
from approvals.models import ApprovalRequest
from approvals.statuses import RequestStatus
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.states import Source, change_state
from jobs.models import Job
from queueing import claims
from queueing.claims import DISPATCHER
from queueing.models import QueueEntry

logger = logging.getLogger("simpletuner.cloud.approvals")


def jobs_with_requests(job_ids: Sequence[str]) -> set[str]:
    """Return those of the jobs that a rule has held at any time."""
    return set(ApprovalRequest.objects.filter(job__in=job_ids).values_list("job_id", flat=True))


def check_approval(entry: QueueEntry, job: Job) -> bool:
    """Whether the job may go: its approval covers it, or no rule held it. False: it has been held again."""
    request = ApprovalRequest.objects.filter(job=job, raise_to_usd=None).order_by("id").last()
    if request is None:
        return True
    try:
        possible = possible_terms(job)
    except SecretsLostError:
        # The dispatcher can't decrypt them either, and fails the job with that reason.
        return True
    is_same = request.status == RequestStatus.APPROVED and request.config_digest in map(digest_of_terms, possible)
    if is_same and is_within(request, job):
        return True
    if is_same:
        reason = f"Approved by {request.reviewed_by} up to ${request.up_to_usd:.2f}, but the job may cost more now."
    elif request.status == RequestStatus.APPROVED:
        reason = f"Changed after its approval by {request.reviewed_by}: {differences(request.terms, possible[0])}."
    else:
        reason = f"The job was about to start, but its approval is {request.status}."
    _hold_again(entry, job, request, reason)
    return False


def is_within(request: ApprovalRequest, job: Job) -> bool:
    """Whether the job may cost no more than was approved."""
    return request.up_to_usd is None or (job.max_cost_usd is not None and job.max_cost_usd <= request.up_to_usd)


def _hold_again(entry: QueueEntry, job: Job, request: ApprovalRequest, reason: str) -> None:
    """Void the approval, create a new request and block the entry: all of it, or nothing when the claim was lost."""
    with unit_of_work():
        if not claims.block(entry, actor=DISPATCHER, reason=reason):
            return
        if request.status == RequestStatus.APPROVED:
            _void(request, reason)
        if request.status != RequestStatus.PENDING:
            renew_request(request, job, reason=reason, actor=DISPATCHER, source=Source.DISPATCHER)
    logger.warning("Job held again: it is not what was approved", extra={**request.log_fields(), "reason": reason})


def _void(request: ApprovalRequest, reason: str) -> bool:
    """Cancel the approval. Its decisions, and the job's history, still say who approved."""
    return change_state(
        request,
        RequestStatus.CANCELLED,
        actor=DISPATCHER,
        source=Source.DISPATCHER,
        reason=reason,
        reviewed_by=DISPATCHER.name,
        reviewed_at=timezone.now(),
        review_notes=reason,
    )
