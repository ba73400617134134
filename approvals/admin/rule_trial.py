"""A rule tried before it is saved: on the jobs of the last 30 days, and on one job beside the rules in force."""

from __future__ import annotations

from dataclasses import dataclass

from rest_framework.exceptions import ValidationError

from approvals.intake import estimate
from approvals.models import ApprovalRule
from approvals.rules.backtest import BackTest, back_test
from approvals.rules.evaluation import judge
from approvals.rules.facts import facts_about, rules_in_force
from approvals.submissions import repeat_submission
from cloudtrain_site.states import Source
from jobs.models import Job
from jobs.permissions import AnyUser, visible_jobs


@dataclass(frozen=True, slots=True)
class RuleJudgement:
    """What one rule makes of a job that was submitted again now."""

    name: str
    is_draft: bool
    holds: bool
    reason: str
    #: The first that holds: the one that counts.
    is_first_hold: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it."""

    back_test: BackTest
    job: Job | None
    judgements: list[RuleJudgement]
    #: Why the job could not be tried.
    error: str


def try_rule(draft: ApprovalRule, user: AnyUser, job_id: str = "") -> Trial:
    """What `draft` would have held, and which rule the job `job_id` would hit with it. Stores nothing."""
    result = back_test(draft, visible_jobs(user))
    if not job_id:
        return Trial(result, None, [], "")
    job = visible_jobs(user).select_related("submitted_by", "organization").filter(pk=job_id.lower()).first()
    if job is None:
        return Trial(result, None, [], f"There is no job {job_id!r}.")
    try:
        return Trial(result, job, _judge_all(draft, job), "")
    except ValidationError as error:
        return Trial(result, job, [], " ".join(_sentences(error.detail)))


def _judge_all(draft: ApprovalRule, job: Job) -> list[RuleJudgement]:
    """Every rule in force and the draft, in the order in which they would be tried."""
    if job.submitted_by is None or job.organization is None:
        raise ValidationError("Nobody submitted this job here, so no rule would be asked about it.")
    submission_request = repeat_submission(job.submitted_by, job, source=Source.ADMIN, idempotency_key="")
    facts = facts_about(
        submission_request.user,
        submission_request.organization,
        submission_request.submission,
        estimate(submission_request),
    )
    others = [rule for rule in rules_in_force(job.organization) if rule.pk != draft.pk]
    # A new rule gets the highest id, and so comes last among those of its priority.
    in_order = sorted([*others, draft], key=lambda rule: (rule.priority, rule.pk is None, rule.pk))
    judgements: list[RuleJudgement] = []
    for rule in in_order:
        judgement = judge(rule, facts)
        is_first_hold = judgement.holds and not any(earlier.is_first_hold for earlier in judgements)
        judgements.append(RuleJudgement(rule.name, rule is draft, judgement.holds, judgement.reason, is_first_hold))
    return judgements


def _sentences(detail: object) -> list[str]:
    if isinstance(detail, dict):
        return [sentence for value in detail.values() for sentence in _sentences(value)]
    if isinstance(detail, list):
        return [sentence for value in detail for sentence in _sentences(value)]
    return [str(detail)]
