"""The rules in force and the facts about a submission, from the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals.models import ApprovalRule
from approvals.rules.evaluation import Facts, Hold, all_holds
from cloudtrain_site.database.prepared import Prepared, counted
from jobs.configs.submission import Submission
from jobs.costs.estimates import Estimate, estimate
from jobs.identifiers import new_job_id
from jobs.models import Job, Organization, ProviderConfig
from jobs.permissions import role_in
from jobs.roles import Role

DAY = timedelta(hours=24)

_RULES = Prepared(
    lambda organization: ApprovalRule.objects.filter(
        Q(organization=None) | Q(organization=organization), enabled=True
    ).select_related("reviewer_group")
)
_STARTED = Prepared(
    lambda user, itself: _jobs_of(user, itself).exclude(submission_started_at=None).values_list("pk")[:1]
)
# Ids sort by time, so the index by submitter serves this query.
_LATELY = Prepared(lambda user, itself, since: counted(_jobs_of(user, itself).filter(pk__gt=since)))


def _jobs_of(user: int, itself: str | None) -> QuerySet[Job]:
    jobs = Job.objects.filter(submitted_by=user)
    return jobs if itself is None else jobs.exclude(pk=itself)


def rules_in_force(organization: Organization) -> list[ApprovalRule]:
    """Return the enabled rules for a submission in `organization`, in the order of their priorities."""
    return _RULES(organization.pk)


def facts_about(
    user: User,
    organization: Organization,
    submission: Submission | Job,
    expected: Estimate,
    *,
    rules: Collection[ApprovalRule],
    role: Role | None = None,
) -> Facts:
    """Return the facts about a submission of `user`, or a job that waits, at this moment.

    The submitter's jobs are only read when one of `rules` goes by them. Rules go by the upper end of `expected`. `role`
    is the user's role in `organization`; None: it is read.
    """
    itself = submission.pk if isinstance(submission, Job) else None
    criteria = {name for rule in rules for name in rule.condition()}
    is_first = "first_job" in criteria and not _STARTED(user.pk, itself)
    lately = _LATELY(user.pk, itself, new_job_id(timezone.now() - DAY))[0] if "jobs_in_day_exceed" in criteria else 0
    return Facts(
        username=user.get_username(),
        role=role or role_in(user, organization),
        organization_id=organization.pk,
        provider=submission.provider,
        hardware_profile=submission.hardware_profile,
        config_name=submission.config_name,
        estimated_cost=expected.highest_cost,
        first_job=is_first,
        jobs_in_day=lately + 1,
        cost_doubt=expected.doubt,
    )


def holds_now(job: Job) -> list[Hold]:
    """Return the holds of the rules of now on a job that waits, as if it were submitted as it is now.

    Its cost is the higher of the stored estimate and one from its config, and not known unless that is.
    """
    if job.submitted_by is None or job.organization is None:
        return []
    expected = estimate(ProviderConfig.of(job.provider), job.config, job.hardware_profile, job.dataloader_config)
    if expected.cost is not None and job.estimated_cost_usd is not None:
        dearest = max(expected.cost.high, job.estimated_cost_usd)
        expected = replace(expected, cost=replace(expected.cost, high=dearest))
    rules = rules_in_force(job.organization)
    return all_holds(rules, facts_about(job.submitted_by, job.organization, job, expected, rules=rules))
