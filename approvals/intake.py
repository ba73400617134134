"""The only way in: a submission becomes a job, its queue entry and, when a rule holds it, an approval request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.utils import timezone
from rest_framework.exceptions import ValidationError

from approvals.creation import create_request, reuse_approval, warn_of_reviewers
from approvals.models import ApprovalRequest, Requirement
from approvals.requirements import requirements_of
from approvals.reviewers import request_warnings
from approvals.rules.evaluation import Hold, all_holds, joined_reasons
from approvals.rules.facts import facts_about, rules_in_force
from approvals.statuses import RequestStatus
from cloudtrain_site.database.batches import delete_in_batches
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.encryption import keys
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.states import Actor
from jobs import lifecycle
from jobs.configs.known_keys import Finding
from jobs.configs.reading import ConfigReading, read_config
from jobs.configs.submission import Submission, digest_of
from jobs.costs import estimates
from jobs.costs.estimates import Estimate
from jobs.fuses.actions import strictest
from jobs.limits import check_open_jobs
from jobs.models import IdempotencyKey, Job, Organization, ProviderConfig
from jobs.permissions import lock_submitter
from jobs.roles import Role
from jobs.runs.numbers import number_ahead
from jobs.runs.origin import NEW, Origin
from jobs.sync.clusters import check_profile
from queueing import claims, passes
from queueing.models import QueueEntry
from queueing.waiting.forecast import StartEstimate, estimate_start
from queueing.waiting.order import position_of

logger = logging.getLogger("simpletuner.cloud.jobs")

KEY_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """A submission with its user, its organization, and how it was made."""

    user: User
    organization: Organization
    submission: Submission
    source: str
    idempotency_key: str = ""
    warnings: tuple[str, ...] = ()
    origin: Origin = NEW
    #: Of its provider, as it was checked; None: to be read.
    provider_config: ProviderConfig | None = None
    #: Of its config; None: to be read.
    reading: ConfigReading | None = None
    #: What looks like a mistake in its config; the sentences are warnings too.
    findings: tuple[Finding, ...] = ()

    @property
    def all_warnings(self) -> tuple[str, ...]:
        return (*self.warnings, *(finding.text for finding in self.findings))

    def digest(self, key: str = "") -> str:
        """Return the digest by which a replay is recognized. Secrets are in it by their fingerprints under `key`."""
        tags = [sorted(self.submission.tags)] if self.submission.tags else []
        return digest_of([self.submission.digest(key), self.organization.pk, self.origin.key(), *tags])


@dataclass(frozen=True, slots=True)
class Outcome:
    job: Job
    is_replay: bool
    approval: ApprovalRequest | None
    queue_position: int | None
    warnings: tuple[str, ...] = field(default=())
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outcome that a submission would have now."""

    estimate: Estimate
    #: Of each rule that would hold it, in their order.
    holds: Sequence[Hold]
    #: Its position and wait once nothing holds it.
    start: StartEstimate
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    #: Why it would be refused now though nothing is wrong with it: a limit of the user's; empty: it would not.
    refusal: str = ""
    #: What differs from its parent; None: it has none.
    changes: dict[str, Any] | None = None


def submit(submission_request: SubmissionRequest) -> Outcome:
    """Store a submission, whole or not at all. A replay of its idempotency key returns the first one's job.

    Raises Conflict when the key was used for something else, LimitReachedError when the user may have no further open
    job, PermissionDenied when the user's right to submit has ended since it was checked, and ValidationError when no
    node of the provider's cluster can run the hardware profile.
    """
    replayed = _replay(submission_request)
    if replayed is not None:
        return replayed
    submission_request = _with_checked_profile(submission_request)
    try:
        return _store(submission_request)
    except (IntegrityError, LimitReachedError):
        # Two requests with one key at the same moment: the other one has committed, and ours left nothing. If its job
        # was the last one that the limit allows, ours met the limit before the key.
        replayed = _replay(submission_request)
        if replayed is None:
            raise
        return replayed


def _with_checked_profile(submission_request: SubmissionRequest) -> SubmissionRequest:
    """Return the request with a warning where nobody knows whether a node can run it. Raises ValidationError."""
    submission = submission_request.submission
    check = check_profile(submission.provider, submission.hardware_profile)
    if check.objection:
        raise ValidationError({"hardware_profile": check.objection})
    if not check.remark:
        return submission_request
    return replace(submission_request, warnings=(*submission_request.warnings, check.remark))


def _store(submission_request: SubmissionRequest) -> Outcome:
    actor = Actor.of(submission_request.user)
    expected = estimate(submission_request)
    with number_ahead(submission_request.organization.pk) as number, unit_of_work():
        role = lock_submitter(submission_request.user, submission_request.organization)
        holds = _holds_on(submission_request, expected, role)
        job = lifecycle.create(
            _limited(submission_request.submission, holds),
            organization=submission_request.organization,
            user=submission_request.user,
            source=submission_request.source,
            estimated_cost=expected.highest_cost,
            lowest_cost=expected.lowest_cost,
            estimate_source=expected.source,
            origin=submission_request.origin,
            number=number,
        )
        if submission_request.idempotency_key:
            IdempotencyKey.objects.create(
                user=submission_request.user,
                key=submission_request.idempotency_key,
                digest=submission_request.digest(),
                job=job,
            )
        reused = (
            reuse_approval(job, holds, user=submission_request.user, source=submission_request.source)
            if holds and submission_request.origin.retry_of
            else None
        )
        held = bool(holds) and reused is None
        entry = claims.enqueue(job, role=role, held=held, actor=actor, source=submission_request.source)
        request, required = reused, list[Requirement]()
        if held:
            reason, required = joined_reasons(holds), requirements_of(holds)
            request = create_request(job, required, reason=reason, actor=actor, source=submission_request.source)
        passes.request_pass()
    _log(job, request)
    lacks = warn_of_reviewers(request, required)
    return _outcome(job, entry, request, submission_request, lacks, is_replay=False)


def _limited(submission: Submission, holds: Sequence[Hold]) -> Submission:
    """Return the submission with what it may cost by these rules too: the lowest amount and the strictest action."""
    rules = [hold.rule for hold in holds]
    limits = (submission.max_cost_usd, *(rule.max_cost_usd for rule in rules))
    graces = (rule.fuse_grace_percent for rule in rules)
    return replace(
        submission,
        max_cost_usd=min((limit for limit in limits if limit is not None), default=None),
        fuse_action=strictest((submission.fuse_action, *(rule.fuse_action for rule in rules))),
        fuse_grace_percent=min((grace for grace in graces if grace is not None), default=None),
    )


def _log(job: Job, request: ApprovalRequest | None) -> None:
    cost = None if job.estimated_cost_usd is None else float(job.estimated_cost_usd)
    extra = {"job_id": job.pk, "provider": job.provider, "cost_estimate": cost}
    logger.info("Job submitted successfully", extra=extra)
    if request is not None and request.status == RequestStatus.PENDING:
        logger.info("Job held for approval", extra={**extra, "approval_id": request.pk, "reason": request.reason})


def remove_old_keys(before: datetime | None, until: float) -> int:
    """Delete the idempotency keys that are too old for a replay. The loop of retention calls it."""
    old = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEY_LIFETIME)
    return delete_in_batches(old.order_by("created_at"), until=until)


def _replay(submission_request: SubmissionRequest) -> Outcome | None:
    """Return the outcome of the first request under the same key; None without one in the last 24 hours."""
    if not submission_request.idempotency_key:
        return None
    stored = (
        IdempotencyKey.objects.filter(user=submission_request.user, key=submission_request.idempotency_key)
        .select_related("job")
        .first()
    )
    if stored is None:
        return None
    if stored.created_at < timezone.now() - KEY_LIFETIME:
        stored.delete()
        return None
    if stored.digest not in [submission_request.digest(key) for key in keys()]:
        raise Conflict("This idempotency key was used for another submission. Use a new key.", code="key_reused")
    entry = QueueEntry.objects.filter(job=stored.job).order_by("id").last()
    request = ApprovalRequest.objects.filter(job=stored.job).order_by("id").last()
    return _outcome(stored.job, entry, request, submission_request, request_warnings(request), is_replay=True)


def _outcome(
    job: Job,
    entry: QueueEntry | None,
    request: ApprovalRequest | None,
    submission_request: SubmissionRequest,
    lacks: Sequence[str],
    *,
    is_replay: bool,
) -> Outcome:
    position = position_of(entry) if entry else None
    warnings = (*submission_request.all_warnings, *lacks)
    return Outcome(job, is_replay, request, position, warnings, submission_request.findings)


def forecast(submission_request: SubmissionRequest) -> Forecast:
    """Return the outcome that the submission would have now, or raise `submit`'s ValidationError. Stores nothing."""
    submission_request = _with_checked_profile(submission_request)
    organization, expected = submission_request.organization, estimate(submission_request)
    holds = _holds_on(submission_request, expected)
    limited = _limited(submission_request.submission, holds)
    refusal = _refusal_by_limit(submission_request.user)
    return Forecast(
        estimate=expected,
        holds=holds,
        start=estimate_start(
            _unstored_job(submission_request, limited, expected), submission_request.user, organization
        ),
        warnings=(
            *submission_request.all_warnings,
            *filter(None, [refusal]),
            *_fuse_warnings(limited, expected),
        ),
        findings=submission_request.findings,
        refusal=refusal,
        changes=submission_request.origin.columns(submission_request.submission).get("changes"),
    )


def _unstored_job(submission_request: SubmissionRequest, submission: Submission, expected: Estimate) -> Job:
    return Job(
        provider=submission.provider,
        hardware_profile=submission.hardware_profile,
        organization=submission_request.organization,
        submitted_by=submission_request.user,
        estimated_cost_usd=expected.highest_cost,
        max_cost_usd=submission.max_cost_usd,
    )


def _refusal_by_limit(user: User) -> str:
    try:
        check_open_jobs(user)
    except LimitReachedError as error:
        return str(error.detail)
    return ""


def _fuse_warnings(submission: Submission, expected: Estimate) -> tuple[str, ...]:
    limit, cost = submission.max_cost_usd, expected.highest_cost
    if limit is None or (cost is not None and cost <= limit):
        return ()
    estimated = "its cost can't be estimated" if cost is None else f"it is estimated to cost up to ${cost:,.2f}"
    return (f"The cost limit is ${limit:,.2f}, but {estimated}. The job may be cancelled before it ends.",)


def _provider_config(submission_request: SubmissionRequest) -> ProviderConfig:
    if submission_request.provider_config is not None:
        return submission_request.provider_config
    return ProviderConfig.of(submission_request.submission.provider)


def estimate(submission_request: SubmissionRequest) -> Estimate:
    """Return what the submission will probably take and cost."""
    submission, config = submission_request.submission, _provider_config(submission_request)
    reading = submission_request.reading or read_config(submission.config, submission.dataloader_config)
    return estimates.estimate_of(config, reading, submission.hardware_profile)


def _holds_on(submission_request: SubmissionRequest, expected: Estimate, role: Role | None = None) -> list[Hold]:
    user, organization = submission_request.user, submission_request.organization
    rules = rules_in_force(organization)
    return all_holds(
        rules, facts_about(user, organization, submission_request.submission, expected, rules=rules, role=role)
    )
