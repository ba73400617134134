"""The rules in force and the facts about a submission, from the database."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from approvals.models import ApprovalRule
from approvals.rules.evaluation import Facts
from jobs.configs.submission import Submission
from jobs.costs.estimates import Estimate
from jobs.identifiers import new_job_id
from jobs.models import Job, Organization
from jobs.permissions import role_in
from jobs.roles import Role

DAY = timedelta(hours=24)


def rules_in_force(organization: Organization) -> list[ApprovalRule]:
    """Return the enabled rules for a submission in `organization`, in the order of their priorities."""
    rules = ApprovalRule.objects.filter(Q(organization=None) | Q(organization=organization), enabled=True)
    return list(rules.select_related("reviewer_group"))


def facts_about(
    user: User, organization: Organization, submission: Submission, estimate: Estimate, *, role: Role | None = None
) -> Facts:
    """Return the facts about a submission of `user` at this moment; rules go by the upper end of `estimate`.

    `role` is the user's role in `organization`; None: it is read.
    """
    own = Job.objects.filter(submitted_by=user)
    # Ids sort by time, so the index by submitter serves this query.
    lately = own.filter(pk__gt=new_job_id(timezone.now() - DAY))
    return Facts(
        username=user.get_username(),
        role=role or role_in(user, organization),
        organization_id=organization.pk,
        provider=submission.provider,
        hardware_profile=submission.hardware_profile,
        config_name=submission.config_name,
        estimated_cost=estimate.highest_cost,
        first_job=not own.exclude(submission_started_at=None).exists(),
        jobs_in_day=lately.count() + 1,
        cost_doubt=estimate.doubt,
    )
