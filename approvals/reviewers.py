"""The reviewers of requests: who may decide, who may not and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from django.contrib.auth.models import Group, User
from django.db.models import (
    BooleanField,
    CharField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce

from approvals.models import ApprovalRequest, ApprovalRule, Decision
from approvals.statuses import RequestStatus
from jobs.models import Membership, Organization
from jobs.permissions import AnyUser, Team, is_superuser
from jobs.roles import RANK, Role


def roles_from(lowest: str) -> list[str]:
    return [role for role in Role.values if RANK[Role(role)] >= RANK[Role(lowest)]]


def reviewers_in(organization_id: int | None, role: str, group: Group | int | None) -> QuerySet[User]:
    """Return the active members of the organization who are in `group`, or without a group have `role` or a higher one.

    A group's member who isn't in the organization doesn't decide there.
    """
    members = Membership.objects.filter(organization=organization_id)
    if group is None:
        members = members.filter(role__in=roles_from(role))
    users = User.objects.filter(is_active=True, pk__in=members.values("user"))
    return users if group is None else users.filter(groups=group)


def eligible(request: ApprovalRequest) -> QuerySet[User]:
    """Return the users who may decide this request."""
    users = reviewers_in(request.organization_id, request.reviewer_role, request.reviewer_group_id)
    return users if request.self_approval else users.exclude(pk=request.requested_by_id or 0)


def with_deciders(requests: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
    """Annotate each request with the number of its reviewers, `deciders`, in the query that reads them."""
    members = _eligible_members().order_by().values("organization")
    count = Subquery(members.annotate(count=Count("pk")).values("count"))
    return requests.annotate(deciders=Coalesce(count, 0))


def awaits_decision_by(user: AnyUser) -> Q:
    """Return the condition that `user` may decide a request and has not yet, to annotate requests with."""
    undecided = ~Q(Exists(Decision.objects.filter(request=OuterRef("pk"), user=user.pk or 0)))
    return undecided if is_superuser(user) else undecided & Q(Exists(_eligible_members().filter(user=user.pk or 0)))


@cache
def _eligible_members() -> QuerySet[Membership]:
    """Return the memberships of a request's reviewers, as a subquery of requests, built once."""
    by_role = Q()
    for lowest in Role.values:
        by_role |= Q(lowest=lowest, role__in=roles_from(lowest))
    in_group = User.groups.through._default_manager.filter(
        user=OuterRef("user"), group=OuterRef(OuterRef("reviewer_group"))
    )
    members = Membership.objects.filter(organization=OuterRef("organization"), user__is_active=True).alias(
        lowest=ExpressionWrapper(OuterRef("reviewer_role"), CharField()),
        group=ExpressionWrapper(OuterRef("reviewer_group"), IntegerField()),
        is_own=ExpressionWrapper(OuterRef("self_approval"), BooleanField()),
        requester=Coalesce(OuterRef("requested_by"), 0),
    )
    decides = Q(by_role, group=None) | Q(Exists(in_group), group__isnull=False)
    return members.filter(decides, Q(is_own=True) | ~Q(user=F("requester")))


def is_reviewer(user: AnyUser, request: ApprovalRequest) -> bool:
    """Whether `user` is a reviewer in the request's organization, also of their own request."""
    users = reviewers_in(request.organization_id, request.reviewer_role, request.reviewer_group_id)
    return users.filter(pk=user.pk or 0).exists()


def reviewer_objection(user: AnyUser, request: ApprovalRequest) -> str | None:
    """Return why `user` may not decide as a reviewer, in one sentence; None when they may."""
    if not is_reviewer(user, request):
        return _who_decides(request)
    return _own_request_objection(user, request)


def _own_request_objection(user: AnyUser, request: ApprovalRequest) -> str | None:
    if request.requested_by_id == user.pk and not request.self_approval:
        return "Nobody decides about their own job: ask another lead or admin."
    return None


def _who_decides(request: ApprovalRequest) -> str:
    if request.reviewer_group is not None:
        return f"Only members of the group {request.reviewer_group.name} in the organization decide about this job."
    roles = " and ".join(f"{role}s" for role in roles_from(request.reviewer_role))
    return f"Only {roles} of the organization decide about its jobs."


def reviewer_objections(user: AnyUser, requests: Sequence[ApprovalRequest]) -> dict[int, str | None]:
    """Return the `reviewer_objection` to each request, by its id, in two queries."""
    theirs = ApprovalRequest.objects.filter(reviewed_by(user), pk__in=[request.pk for request in requests])
    reviewed = set(theirs.values_list("pk", flat=True)) if user.is_active else set()
    return {
        request.pk: _who_decides(request) if request.pk not in reviewed else _own_request_objection(user, request)
        for request in requests
    }


def decidable_by(user: AnyUser, teams: Sequence[Team]) -> Q:
    """Return the condition for requests that `user`, who is in `teams`, may decide. Superusers may decide all."""
    if is_superuser(user):
        return Q()
    reviewed = _reviewed_as(user, ((team.id, team.role) for team in teams))
    return reviewed & (Q(self_approval=True) | ~Q(requested_by=user.pk))


def decision_objection(user: AnyUser, request: ApprovalRequest) -> str | None:
    """Return why `user` may not decide `request`, in one sentence; None when they may. Superusers always may."""
    return None if is_superuser(user) else reviewer_objection(user, request)


def bypasses(user: AnyUser, request: ApprovalRequest) -> bool:
    """Whether `user` may decide only as a superuser: such a decision needs a reason and is marked."""
    return is_superuser(user) and reviewer_objection(user, request) is not None


def may_bypass(user: AnyUser, request: ApprovalRequest) -> bool:
    """Whether `user` is a reviewer who, as a superuser, needs no further approvals."""
    return request.approvals_needed > 1 and is_superuser(user) and not bypasses(user, request)


def reviewed_by(user: AnyUser) -> Q:
    """Return the condition for requests that `user` reviews, their own among them."""
    memberships = Membership.objects.filter(user_id=user.pk or 0)
    return _reviewed_as(user, memberships.values_list("organization_id", "role"))


def _reviewed_as(user: AnyUser, roles: Iterable[tuple[int, str]]) -> Q:
    """Return the condition for a user with these roles, as pairs of organization id and role."""
    condition = Q(pk__in=[])
    for organization_id, role in roles:
        own = Q(organization=organization_id)
        lower = [other for other in Role.values if RANK[Role(other)] <= RANK[Role(role)]]
        by_group = Q(reviewer_group__in=Group.objects.filter(user=user.pk or 0))
        condition |= own & (Q(reviewer_group=None, reviewer_role__in=lower) | by_group)
    return condition


def rule_warnings(rule: ApprovalRule) -> list[str]:
    """Return a sentence for each organization with fewer reviewers than the rule needs."""
    organizations = [rule.organization] if rule.organization else list(Organization.objects.all()[:50])
    counts = {item: reviewers_in(item.pk, rule.reviewer_role, rule.reviewer_group_id).count() for item in organizations}
    return [
        f"In {item.name} {count} of the {rule.approvals_needed} reviewers that the rule needs are there: "
        "what it holds there will expire."
        for item, count in counts.items()
        if count < rule.approvals_needed
    ]


def request_warnings(request: ApprovalRequest | None) -> list[str]:
    """Return a warning about a pending request that has too few reviewers; none for any other."""
    if request is None or request.status != RequestStatus.PENDING:
        return []
    count = eligible(request).count()
    if count >= request.approvals_needed:
        return []
    return [f"Approvals needed: {request.approvals_needed}; people who may give one: {count}. Ask an admin."]
