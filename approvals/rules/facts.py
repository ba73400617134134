"""What the rules look at, asked of the database."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.utils import timezone

from approvals.models import ApprovalRule
from approvals.rules.evaluation import Facts
from jobs.configs.submission import Submission
from jobs.identifiers import new_job_id
from jobs.models import Job, Organization
from jobs.permissions import role_in

DAY = timedelta(hours=24)


def rules_in_force(organization: Organization) -> list[ApprovalRule]:
    """The rules that concern a submission for `organization`, in the order in which they are tried."""
    everybodys = ApprovalRule.objects.filter(enabled=True, organization=None)
    return list(everybodys | ApprovalRule.objects.filter(enabled=True, organization=organization))


def facts_about(user: User, organization: Organization, submission: Submission, cost: Decimal | None) -> Facts:
    """The facts about a submission that `user` makes now."""
    own = Job.objects.filter(submitted_by=user)
    # Ids sort by time, so that the index by submitter answers this.
    lately = own.filter(pk__gt=new_job_id(timezone.now() - DAY))
    return Facts(
        username=user.get_username(),
        role=role_in(user, organization),
        organization_id=organization.pk,
        provider=submission.provider,
        hardware_profile=submission.hardware_profile,
        config_name=submission.config_name,
        estimated_cost=cost,
        first_job=not own.exclude(submission_started_at=None).exists(),
        jobs_in_day=lately.count() + 1,
    )
