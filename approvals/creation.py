"""The creation of requests: for a held job, after a void approval, or by an approval that still covers a retry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from approvals.approved_terms import digest_of_terms, possible_terms, still_covers, stored_job, stored_terms, terms_of
from approvals.models import ApprovalRequest, Requirement
from approvals.notifications import store_reviewer_notices
from approvals.requirements import are_among, attach, copies, joined, lowest_limit, requirements_of, shortest_life
from approvals.reviewers import request_warnings
from approvals.rules.evaluation import Hold, joined_reasons
from approvals.rules.facts import holds_now
from approvals.statuses import RequestStatus
from cloudtrain_site.database.fast_sql import insert_one, unsaved
from cloudtrain_site.database.unit_of_work import joined_unit, unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Change
from jobs.models import Job

logger = logging.getLogger("simpletuner.cloud.approvals")


def create_request(
    job: Job, required: Sequence[Requirement], *, reason: str, actor: Actor, source: str
) -> ApprovalRequest:
    """Create the request of a job that is held as it is created, in that transaction. `warn_of_reviewers` comes after.

    The job is as `lifecycle.create` returns it.
    """
    return _create(job, terms_of(job), required, reason=reason, actor=actor, source=source)


def renew_request(void: ApprovalRequest, job: Job, *, reason: str, actor: Actor, source: str) -> ApprovalRequest:
    """Create a request for the job as it is now: for each rule that holds it now, and each that held it before.

    A rule that is changed since requires what it says now; one that holds it no more requires what it did, since
    nobody has decided about that.
    """
    required = joined(requirements_of(holds_now(job)), copies(void.requirements.all(), with_approvals=False))
    request = _create(job, stored_terms(job), required, reason=reason, actor=actor, source=source)
    warn_of_reviewers(request, required)
    return request


def warn_of_reviewers(request: ApprovalRequest | None, required: Sequence[Requirement]) -> list[str]:
    """Return the `request_warnings` of a new request, and log that there are some."""
    warnings = request_warnings(request, required)
    if request is not None and warnings:
        logger.warning("Nobody can decide about an approval request", extra=request.log_fields())
    return warnings


def create_raise(
    approved: ApprovalRequest, job: Job, amount: Decimal, *, reason: str, actor: Actor, source: str
) -> ApprovalRequest:
    """Create a request to let a running job cost `amount` US dollars, decided by those who decided about `approved`."""
    required = copies(approved.requirements.all(), with_approvals=False)
    terms = stored_terms(job)
    request = _create(job, terms, required, reason=reason, actor=actor, source=source, raise_to=amount)
    warn_of_reviewers(request, required)
    return request


def _create(
    job: Job,
    terms: dict[str, Any],
    required: Sequence[Requirement],
    *,
    reason: str,
    actor: Actor,
    source: str,
    raise_to: Decimal | None = None,
) -> ApprovalRequest:
    now, name = timezone.now(), required[0].rule_name
    if raise_to is None:
        amounts = {"up_to_usd": lowest_limit(required, job.max_cost_usd)}
    else:
        amounts = {"raise_to_usd": raise_to}
    request = _build_request(
        job,
        terms,
        now,
        expires_at=now + shortest_life(required),
        rule_name=name,
        reason=reason,
        **amounts,
    )
    with joined_unit():
        insert_one(request)
        attach(required, request)
        request.record(_creation_change(request, actor, source, request.reason))
        store_reviewer_notices(request)
    return request


def reuse_approval(job: Job, holds: Sequence[Hold], *, user: User, source: str) -> ApprovalRequest | None:
    """Approve a retry by the approval of the job that it repeats. None: there is none that covers it.

    It covers the retry when every rule that holds it now was approved under the terms that the rule has now, and
    all of their lives last. The approval is stored as a request of the new job, so that the dispatcher compares this
    job with what was approved.
    """
    earlier = _earlier_approval(job, user)
    possible = possible_terms(stored_job(job))
    if earlier is None or not any(still_covers(earlier.terms, current) for current in possible):
        return None
    required, approved = requirements_of(holds), list(earlier.requirements.all())
    until = (earlier.reviewed_at or earlier.requested_at) + shortest_life([*required, *approved])
    if not are_among(required, approved) or until <= timezone.now():
        return None
    request = _build_request(
        job,
        possible[0],
        timezone.now(),
        expires_at=earlier.expires_at,
        rule_name=holds[0].rule.name,
        reason=joined_reasons(holds),
        status=RequestStatus.APPROVED,
        kept_from=earlier,
        reviewed_by=earlier.reviewed_by,
        reviewed_at=earlier.reviewed_at,
        review_notes=earlier.review_notes,
        bypassed=earlier.bypassed,
        up_to_usd=earlier.up_to_usd,
    )
    reason = f"identical retry of {earlier.job_id}, approved by {earlier.reviewed_by}"
    with unit_of_work():
        insert_one(request)
        attach(copies(approved, with_approvals=True), request)
        request.record(_creation_change(request, SYSTEM, source, reason))
    return request


def _earlier_approval(job: Job, user: User) -> ApprovalRequest | None:
    """Return the newest approval that `user` has for the job that this one repeats."""
    approvals = ApprovalRequest.objects.filter(
        job=job.retry_of_id, requested_by=user, status=RequestStatus.APPROVED, raise_to_usd=None
    )
    return approvals.order_by("-id").first()


def _build_request(job: Job, terms: dict[str, Any], now: datetime, **fields: Any) -> ApprovalRequest:
    return unsaved(
        ApprovalRequest,
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
