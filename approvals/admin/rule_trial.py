"""A trial of a rule before it is saved: on the jobs of the last 30 days, and on one job among the rules in force."""

from __future__ import annotations

from dataclasses import dataclass

from rest_framework.exceptions import ValidationError

from approvals.admin.request_page import approvals_text
from approvals.intake import estimate
from approvals.models import ApprovalRule
from approvals.rules.backtest import BackTest, back_test
from approvals.rules.evaluation import judge
from approvals.rules.facts import facts_about, rules_in_force
from approvals.submissions import repeat_submission
from cloudtrain_site.errors import sentences_of
from cloudtrain_site.states import Source
from jobs.models import Job
from jobs.permissions import AnyUser, visible_jobs


@dataclass(frozen=True, slots=True)
class RuleJudgement:
    """The judgement of one rule on a job, if it were submitted again now."""

    name: str
    is_draft: bool
    holds: bool
    reason: str
    #: What it then needs: "2 approvals by leads and admins".
    needs: str


@dataclass(frozen=True, slots=True)
class Trial:
    back_test: BackTest
    job: Job | None
    judgements: list[RuleJudgement]
    #: The reason why the job could not be tried; empty when it was.
    error: str


def try_rule(draft: ApprovalRule, user: AnyUser, job_id: str = "") -> Trial:
    """Return what `draft` would have held, and every rule's judgement on the job `job_id`. Stores nothing."""
    result = back_test(draft, visible_jobs(user))
    if not job_id:
        return Trial(result, None, [], "")
    job = visible_jobs(user).select_related("submitted_by", "organization").filter(pk=job_id.lower()).first()
    if job is None:
        return Trial(result, None, [], f"There is no job “{job_id}”.")
    try:
        return Trial(result, job, _judge_all(draft, job), "")
    except ValidationError as error:
        return Trial(result, job, [], " ".join(sentences_of(error.detail)))


def _judge_all(draft: ApprovalRule, job: Job) -> list[RuleJudgement]:
    """Return the judgements of the rules in force and the draft, by their priorities. Raises ValidationError."""
    if job.submitted_by is None or job.organization is None:
        raise ValidationError("This job was not submitted here, so no rule applies to it.")
    submission_request = repeat_submission(job.submitted_by, job, source=Source.ADMIN, idempotency_key="")
    others = [rule for rule in rules_in_force(job.organization) if rule.pk != draft.pk]
    # A new rule gets the highest id, and so comes last among those of its priority.
    in_order = sorted([*others, draft], key=lambda rule: (rule.priority, rule.pk is None, rule.pk))
    facts = facts_about(
        submission_request.user,
        submission_request.organization,
        submission_request.submission,
        estimate(submission_request),
        rules=in_order,
    )
    judged = [(rule, judge(rule, facts)) for rule in in_order]
    return [
        RuleJudgement(rule.name, rule is draft, judgement.holds, judgement.reason, approvals_text(rule))
        for rule, judgement in judged
    ]
