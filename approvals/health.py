"""The approvals' part of the health report."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Count, Min

from approvals.models import ApprovalRequest
from approvals.reviewers import roles_from
from approvals.statuses import RequestStatus
from jobs.models import Membership


@dataclass(frozen=True, slots=True)
class UndecidableRequests:
    """Pending requests that have fewer reviewers than they need approvals."""

    count: int
    #: The moment when the first of them expires.
    first: datetime


def undecidable_requests() -> UndecidableRequests | None:
    """Return the requests with too few reviewers; None when there are none. Three queries, however many are pending."""
    pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING).order_by()
    # Requests that agree in all these columns have the same reviewers.
    alike = pending.values_list(
        *("organization", "reviewer_role", "reviewer_group", "requested_by", "self_approval", "approvals_needed")
    ).annotate(count=Count("pk"), first=Min("expires_at"))
    people = _Reviewers() if alike else None
    undecidable = [
        (count, first)
        for organization, role, group, requester, self_approval, needed, count, first in alike
        if people and people.count_deciding(organization, role, group, None if self_approval else requester) < needed
    ]
    if not undecidable:
        return None
    return UndecidableRequests(sum(count for count, _ in undecidable), min(first for _, first in undecidable))


class _Reviewers:
    """All possible reviewers, read at once: like `reviewers.eligible`, but for many requests."""

    def __init__(self) -> None:
        self.members: dict[int, dict[int, str]] = defaultdict(dict)
        self.groups: dict[int, set[int]] = defaultdict(set)
        rows = Membership.objects.filter(user__is_active=True).order_by()
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
        f"{subject} too few people who may decide; the first expires at {undecidable.first:%Y-%m-%d %H:%M} UTC. "
        "Make somebody a reviewer of the organization: the requests' pages in the admin say where."
    )
