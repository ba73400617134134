"""What the queue tells of a job that an approval holds: by which rule, why, who decides, and until when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User

from approvals.models import ApprovalRequest
from approvals.reviewers import roles_from
from approvals.statuses import RequestStatus
from jobs.models import Membership

#: All that a sentence needs: the terms of a request may have a megabyte.
TOLD = (
    "job_id",
    "rule_name",
    "reason",
    "expires_at",
    "organization_id",
    "requested_by_id",
    "reviewer_role",
    "reviewer_group_id",
    "self_approval",
)


def why_held(job_ids: Sequence[str]) -> Mapping[str, str]:
    """A sentence for each held job, in a few queries for all of them."""
    pending = ApprovalRequest.objects.filter(job__in=job_ids, status=RequestStatus.PENDING)
    requests = list(pending.only(*TOLD))
    members = _members_of({request.organization_id for request in requests})
    groups = _groups({request.reviewer_group_id for request in requests} - {None})
    return {request.job_id: _sentence(request, _deciders(request, members, groups)) for request in requests}


def _members_of(organizations: set[Any]) -> dict[int, list[tuple[int, str]]]:
    """The active members of each organization, with their roles."""
    members: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    if organizations:
        active = Membership.objects.filter(organization__in=organizations, user__is_active=True)
        for organization_id, user_id, role in active.values_list("organization_id", "user_id", "role"):
            members[organization_id].append((user_id, role))
    return members


def _groups(group_ids: set[Any]) -> dict[int, set[int]]:
    people: defaultdict[int, set[int]] = defaultdict(set)
    if group_ids:
        for group_id, user_id in User.objects.filter(groups__in=group_ids).values_list("groups", "pk"):
            people[group_id].add(user_id)
    return people


def _deciders(
    request: ApprovalRequest, members: Mapping[int, list[tuple[int, str]]], groups: Mapping[int, set[int]]
) -> int:
    """How many may decide: as `reviewers.eligible` says, without asking the database for each request."""
    own = members.get(request.organization_id or 0, [])
    if request.reviewer_group_id is None:
        roles = roles_from(request.reviewer_role)
        found = {user_id for user_id, role in own if role in roles}
    else:
        found = {user_id for user_id, _ in own} & groups.get(request.reviewer_group_id, set())
    return len(found if request.self_approval else found - {request.requested_by_id})


def _sentence(request: ApprovalRequest, people: int) -> str:
    reason = request.reason.rstrip(".")
    decide = "1 person can decide" if people == 1 else f"{people} people can decide"
    until = f"expires {request.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"Held by the rule {request.rule_name!r}: {reason}; {decide if people else 'nobody can decide'}; {until}."
