"""A rule tried on the jobs of the last 30 days."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Min, Q
from django.utils import timezone

from approvals.models import ApprovalRule
from approvals.rules.evaluation import Facts, all_holds, judge
from approvals.rules.facts import DAY
from jobs.identifiers import new_job_id
from jobs.models import Job, JobQuerySet, Membership
from jobs.roles import Role

WINDOW_DAYS = 30
#: The answer lists the newest of the held jobs, and counts all.
MAX_JOBS_SHOWN = 50
COLUMNS = (
    *("id", "submitted_by_id", "submitted_by__username", "submitted_by__is_superuser", "organization_id", "provider"),
    *("hardware_profile", "config_name", "estimated_cost_usd", "cost_usd", "cost_doubt", "created_at"),
)


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A past job that the rule would have held, and its cost in US dollars; None: not known."""

    job_id: str
    config_name: str
    submitted_by: str
    cost: Decimal | None
    reason: str
    #: The names of the other rules in force now that would have held it too. Only of those that are `shown`.
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackTest:
    days: int
    looked_at: int
    held: list[HeldJob]
    #: What the rule lets a job cost at most, in US dollars.
    limit: Decimal | None = None

    @property
    def cost(self) -> Decimal:
        """What is known of the cost of the held jobs, in US dollars."""
        return sum((job.cost for job in self.held if job.cost is not None), Decimal(0))

    @property
    def of_unknown_cost(self) -> int:
        """The number of the held jobs whose cost is not known."""
        return sum(job.cost is None for job in self.held)

    @property
    def beyond_limit(self) -> int:
        """The number of the held jobs that cost more than the rule lets a job cost, as far as is known."""
        return sum(self.limit is not None and job.cost is not None and job.cost > self.limit for job in self.held)

    @property
    def shown(self) -> list[HeldJob]:
        """The newest of the held jobs, newest first."""
        return self.held[-MAX_JOBS_SHOWN:][::-1]


def back_test(rule: ApprovalRule, jobs: JobQuerySet) -> BackTest:
    """Return which of `jobs` from the last 30 days the rule would have held, whatever the other rules say.

    Of a rule of one organization, the jobs of others are not looked at.
    """
    since = timezone.now() - timedelta(days=WINDOW_DAYS)
    if rule.organization_id is not None:
        jobs = jobs.filter(organization=rule.organization_id)
    recent = jobs.filter(pk__gt=new_job_id(since)).exclude(submitted_by=None).order_by("pk")
    rows = list(recent.values(*COLUMNS))
    held, newest = [], deque[Facts](maxlen=MAX_JOBS_SHOWN)
    for row, facts in zip(rows, _facts_of(rows, since), strict=True):
        judgement = judge(rule, facts)
        if judgement.holds:
            cost = row["cost_usd"] if row["cost_doubt"] is None else None
            held.append(HeldJob(row["id"], row["config_name"], facts.username, cost, judgement.reason))
            newest.append(facts)
    older = len(held) - len(newest)
    shown = [replace(job, others=others) for job, others in zip(held[older:], _others(rule, newest), strict=True)]
    return BackTest(WINDOW_DAYS, len(rows), held[:older] + shown, rule.max_cost_usd)


def _others(rule: ApprovalRule, facts: Collection[Facts]) -> Iterator[tuple[str, ...]]:
    """Yield, for each job, the names of the rules but this one that would have held it."""
    organizations = {about.organization_id for about in facts}
    concerned = Q(organization=None) | Q(organization__in=organizations)
    rules = list(ApprovalRule.objects.filter(concerned, enabled=True).exclude(pk=rule.pk)) if facts else []
    for about in facts:
        yield tuple(hold.rule.name for hold in all_holds(rules, about))


def _facts_of(rows: list[dict[str, Any]], since: datetime) -> Iterator[Facts]:
    """Yield the facts about each job when it was submitted, but with the submitter's role of today."""
    users = {row["submitted_by_id"] for row in rows}
    roles, firsts, times = _roles_of(users), _first_runs_of(users), _submissions_of(users, since - DAY)
    for row in rows:
        user, at = row["submitted_by_id"], row["created_at"]
        first = firsts.get(user)
        yield Facts(
            username=row["submitted_by__username"],
            role=Role.ADMIN if row["submitted_by__is_superuser"] else roles.get((user, row["organization_id"])),
            organization_id=row["organization_id"],
            provider=row["provider"],
            hardware_profile=row["hardware_profile"],
            config_name=row["config_name"],
            estimated_cost=row["estimated_cost_usd"],
            first_job=first is None or first >= at,
            jobs_in_day=bisect_right(times[user], at) - bisect_right(times[user], at - DAY),
        )


def _roles_of(users: set[int]) -> dict[tuple[int, int], Role]:
    rows = Membership.objects.filter(user__in=users).values_list("user_id", "organization_id", "role")
    return {(user, organization): Role(role) for user, organization, role in rows}


def _first_runs_of(users: set[int]) -> dict[int, datetime]:
    """Return the moment when each user's first job was handed to a provider."""
    started = Job.objects.filter(submitted_by__in=users).exclude(submission_started_at=None)
    rows = started.order_by().values("submitted_by").annotate(first=Min("submission_started_at"))
    return {row["submitted_by"]: row["first"] for row in rows}


def _submissions_of(users: set[int], since: datetime) -> dict[int, list[datetime]]:
    """Return the times of each user's submissions, in order, in all organizations."""
    times: dict[int, list[datetime]] = defaultdict(list)
    rows = Job.objects.filter(submitted_by__in=users, pk__gt=new_job_id(since)).order_by("created_at")
    for user, at in rows.values_list("submitted_by_id", "created_at"):
        times[int(user or 0)].append(at)
    return times
