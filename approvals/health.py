"""The approvals' part of the health report."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Case, Count, Exists, Min, OuterRef, Q, When

from approvals.models import Requirement
from approvals.reviewers import PERSON, STRICT, WAITING, roles_from
from approvals.statuses import RequestStatus
from jobs.models import Membership

#: What decides who the reviewers of a requirement are, and how many it needs.
COLUMNS = ("request__organization", "reviewer_role", "reviewer_group", "excluded", "approvals_needed")


@dataclass(frozen=True, slots=True)
class UndecidableRequests:
    """Pending requests with a rule that has fewer reviewers than it needs approvals."""

    count: int
    #: The moment when the first of them expires.
    first: datetime


def undecidable_requests() -> UndecidableRequests | None:
    """Return the requests with too few reviewers; None when there are none.

    It takes three queries, however many are pending, and one more when there are some.
    """
    waiting = Requirement.objects.filter(WAITING, request__status=RequestStatus.PENDING).order_by()
    strict = Requirement.objects.filter(STRICT, request=OuterRef("request"))
    waiting = waiting.annotate(excluded=Case(When(Exists(strict), then="request__requested_by")))
    # Requirements that agree in all these columns have the same reviewers.
    alike = waiting.values_list(*COLUMNS).distinct()
    people = Reviewers() if alike else None
    undecidable = Q(pk__in=[])
    for organization, role, group, excluded, needed in alike:
        if people and people.count_deciding(organization, role, group, excluded) < needed:
            undecidable |= _equal_to(organization, role, group, excluded, needed)
    found = waiting.filter(undecidable).aggregate(
        count=Count("request", distinct=True), first=Min("request__expires_at")
    )
    return UndecidableRequests(**found) if found["count"] else None


def _equal_to(*values: object) -> Q:
    return Q(
        *(
            Q((f"{name}__isnull", True)) if value is None else Q((name, value))
            for name, value in zip(COLUMNS, values, strict=True)
        )
    )


class Reviewers:
    """All possible reviewers, read at once: like `reviewers.eligible`, but for many requests."""

    def __init__(self) -> None:
        self.members: dict[int, dict[int, str]] = defaultdict(dict)
        self.groups: dict[int, set[int]] = defaultdict(set)
        rows = Membership.objects.filter(PERSON, user__is_active=True).order_by()
        for organization, user, role in rows.values_list("organization_id", "user_id", "role"):
            self.members[organization][user] = role
        for group, user in User.groups.through.objects.values_list("group_id", "user_id"):
            self.groups[group].add(user)

    def count_deciding(self, organization: int | None, role: str, group: int | None, excluded: int | None) -> int:
        """Return how many people decide there, without `excluded`."""
        members = self.members.get(organization or 0, {})
        if group is None:
            reviewers = {user for user, has in members.items() if has in roles_from(role)}
        else:
            reviewers = members.keys() & self.groups[group]
        return len(reviewers - {excluded})


def warning() -> str:
    """Return a sentence for the health page; empty when all requests can be decided. It names no job."""
    undecidable = undecidable_requests()
    if undecidable is None:
        return ""
    subject = "1 approval request has" if undecidable.count == 1 else f"{undecidable.count} approval requests have"
    return (
        f"{subject} too few reviewers; the first expires at {undecidable.first:%Y-%m-%d %H:%M} UTC. "
        "Add a reviewer to the organization."
    )
