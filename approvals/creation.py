"""The creation of requests: for a held job, after a void approval, or by an approval that still covers a retry."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from approvals.approved_terms import digest_of_terms, possible_terms, still_covers, stored_job, stored_terms
from approvals.models import ApprovalRequest
from approvals.notifications import plan_reviewer_mails
from approvals.reviewers import request_warnings
from approvals.rules.evaluation import Hold
from approvals.statuses import RequestStatus
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Change
from jobs.models import Job

logger = logging.getLogger("simpletuner.cloud.approvals")


def create_request(job: Job, hold: Hold, *, actor: Actor, source: str) -> ApprovalRequest:
    """Create the request of a held job, in the transaction that holds it."""
    rule = hold.rule
    return _create(
        job,
        rule.lifetime,
        actor=actor,
        source=source,
        rule=rule,
        rule_name=rule.name,
        reason=hold.reason,
        reviewer_role=rule.reviewer_role,
        reviewer_group=rule.reviewer_group,
        approvals_needed=rule.approvals_needed,
        self_approval=rule.self_approval,
    )


def renew_request(void: ApprovalRequest, job: Job, *, reason: str, actor: Actor, source: str) -> ApprovalRequest:
    """Create a request for the job as it is now, with the same rule, reviewers and lifetime as the void one."""
    return _create(
        job,
        void.expires_at - void.requested_at,
        actor=actor,
        source=source,
        rule=void.rule,
        rule_name=void.rule_name,
        reason=reason,
        reviewer_role=void.reviewer_role,
        reviewer_group=void.reviewer_group,
        approvals_needed=void.approvals_needed,
        self_approval=void.self_approval,
    )


def _create(job: Job, lifetime: timedelta, *, actor: Actor, source: str, **fields: Any) -> ApprovalRequest:
    now = timezone.now()
    request = _build_request(job, stored_terms(job), now, expires_at=now + lifetime, **fields)
    with unit_of_work():
        request.save(force_insert=True)
        request.record(_creation_change(request, actor, source, request.reason))
        plan_reviewer_mails(request)
    if request_warnings(request):
        logger.warning("Nobody can decide about an approval request", extra=request.log_fields())
    return request


def reuse_approval(job: Job, hold: Hold, *, user: User, source: str) -> ApprovalRequest | None:
    """Approve a retry by the approval of the job that it repeats. None: this rule has none that covers it.

    The approval is stored as a request of the new job, so that the dispatcher compares this job with what was approved.
    """
    rule = hold.rule
    earlier = (
        ApprovalRequest.objects.filter(
            status=RequestStatus.APPROVED,
            job=job.retry_of_id,
            rule=rule,
            requested_by=user,
            reviewed_at__gt=timezone.now() - rule.lifetime,
        )
        .order_by("-id")
        .first()
    )
    possible = possible_terms(stored_job(job))
    terms = possible[0]
    if earlier is None or not any(still_covers(earlier.terms, current) for current in possible):
        return None
    request = _build_request(
        job,
        terms,
        timezone.now(),
        expires_at=earlier.expires_at,
        rule=rule,
        rule_name=rule.name,
        reason=hold.reason,
        status=RequestStatus.APPROVED,
        kept_from=earlier,
        reviewed_by=earlier.reviewed_by,
        reviewed_at=earlier.reviewed_at,
        review_notes=earlier.review_notes,
        bypassed=earlier.bypassed,
    )
    reason = f"a retry with nothing changed goes by the approval of {earlier.job_id} by {earlier.reviewed_by}"
    with unit_of_work():
        request.save(force_insert=True)
        request.record(_creation_change(request, SYSTEM, source, reason))
    return request


def _build_request(job: Job, terms: dict[str, Any], now: datetime, **fields: Any) -> ApprovalRequest:
    return ApprovalRequest(
        job=job,
        organization_id=job.organization_id,
        requested_by_id=job.submitted_by_id,
        requested_at=now,
        terms=terms,
        config_digest=digest_of_terms(terms),
        **fields,
    )


def _creation_change(request: ApprovalRequest, actor: Actor, source: str, reason: str) -> Change:
    return Change.of(request, "", request.status, actor=actor, source=source, reason=reason, at=request.requested_at)
