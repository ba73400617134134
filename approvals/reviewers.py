"""The reviewers of requests: who may decide, who may not and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, cached_property

from django.contrib.auth.models import Group, User
from django.db.models import CharField, Count, Exists, ExpressionWrapper, F, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from approvals.models import ApprovalRequest, ApprovalRule, Decision, Requirement
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.database.prepared import Prepared, counted
from jobs.models import Membership, Organization
from jobs.permissions import AnyUser, Team, is_superuser, memberships_of
from jobs.roles import MANAGERS, RANK, Role

#: Of a membership: a program's service account, whose keys an admin makes, approves nothing.
PERSON = Q(user__service_account=None)
#: A list finds so many requests at most by their ids. If somebody decides about more, some of them are among the last.
FEW = 500
#: What the pages of many requests read of each in two further queries, however many there are.
WITH_REQUIREMENTS = Prefetch("requirements", Requirement.objects.select_related("rule", "reviewer_group"))
#: The requirements that still lack approvals, and those of rules that let nobody decide about their own job.
WAITING = Q(approvals_given__lt=F("approvals_needed"))
STRICT = Q(self_approval=False)


def roles_from(lowest: str) -> list[str]:
    """Return the role and all higher ones, lowest first; none for no role."""
    return [role for role in Role.values if RANK[Role(role)] >= RANK[Role(lowest)]] if lowest else []


def reviewers_in(organization_id: int | None, role: str, group: Group | int | None) -> QuerySet[User]:
    """Return the active people of the organization who are in `group`, or without a group have `role` or a higher one.

    A group's member who isn't in the organization doesn't decide there.
    """
    members = Membership.objects.filter(PERSON, organization=organization_id)
    if group is None:
        members = members.filter(role__in=roles_from(role))
    users = User.objects.filter(is_active=True, pk__in=members.values("user"))
    return users if group is None else users.filter(groups=group)


def decides_anywhere(user: User) -> bool:
    """Whether the user leads an organization, or a rule in force has them decide in one of theirs."""
    roles = dict(Membership.objects.filter(user=user).values_list("organization", "role"))
    if user.is_superuser or set(roles.values()) & set(MANAGERS):
        return True
    groups = set(user.groups.values_list("pk", flat=True))
    return any(
        rule.reviewer_group_id in groups if rule.reviewer_group_id else role in roles_from(rule.reviewer_role)
        for rule in ApprovalRule.objects.filter(enabled=True)
        for organization, role in roles.items()
        if rule.organization_id in (None, organization)
    )


def who_decides(requirement: Requirement | ApprovalRule) -> str:
    """Return who decides, in words: "leads and admins", "members of the group budget"."""
    if requirement.reviewer_group is not None:
        return f"members of the group {requirement.reviewer_group.name}"
    roles = " and ".join(f"{role}s" for role in roles_from(requirement.reviewer_role))
    return roles or "superusers only (the group was deleted)"


class Standing:
    """What a user decides by: the role in each organization, and the groups. Each is read once, when it is needed."""

    def __init__(self, user: AnyUser) -> None:
        self.user_id = user.pk
        self._user = user

    @cached_property
    def roles(self) -> dict[int, str]:
        """By organization; somebody inactive has none."""
        memberships = memberships_of(self._user).filter(PERSON, user__is_active=True)
        return dict(memberships.values_list("organization_id", "role"))

    @cached_property
    def groups(self) -> frozenset[int]:
        return frozenset(self._user.groups.values_list("pk", flat=True))

    def reviews(self, request: ApprovalRequest, requirement: Requirement) -> bool:
        """Whether the user is a reviewer of this requirement of `request`, also of their own."""
        role = self.roles.get(request.organization_id or 0)
        if role is None:
            return False
        if requirement.reviewer_group_id is not None:
            return requirement.reviewer_group_id in self.groups
        return role in roles_from(requirement.reviewer_role)


def requirements_decided_by(
    standing: Standing, request: ApprovalRequest, requirements: Sequence[Requirement]
) -> list[Requirement]:
    """Return those of the request's requirements for which an approval by somebody of this standing counts now."""
    if standing.user_id == request.requested_by_id and not _allows_own(requirements):
        return []
    return [item for item in requirements if item.approvals_missing and standing.reviews(request, item)]


def reviews_alone(user: AnyUser, request: ApprovalRequest) -> bool:
    """Whether the approval of `user` alone would be enough for every rule of the request."""
    if is_superuser(user):
        return True
    standing, requirements = Standing(user), list(request.requirements.all())
    if standing.user_id == request.requested_by_id and not _allows_own(requirements):
        return False
    return all(item.approvals_needed == 1 and standing.reviews(request, item) for item in requirements)


def _allows_own(requirements: Iterable[Requirement]) -> bool:
    return all(requirement.self_approval for requirement in requirements)


def _barred_requester(request: ApprovalRequest, requirements: Sequence[Requirement]) -> int:
    """Return the id of the requester, if they may not decide about their own request; else 0, which nobody has."""
    return 0 if _allows_own(requirements) else request.requested_by_id or 0


def eligible(request: ApprovalRequest) -> QuerySet[User]:
    """Return the users who may decide about a requirement of this request that still lacks approvals, each once."""
    requirements = list(request.requirements.all())
    condition = Q(pk__in=[])
    for item in requirements:
        if item.approvals_missing:
            reviewers = reviewers_in(request.organization_id, item.reviewer_role, item.reviewer_group_id)
            condition |= Q(pk__in=reviewers.values("pk"))
    return User.objects.filter(condition).exclude(pk=_barred_requester(request, requirements))


def with_deciders(requests: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
    """Annotate each request with the number of its reviewers, `deciders`, in the query that reads them."""
    members = _eligible_members().order_by().values("organization")
    count = Subquery(members.annotate(count=Count("pk")).values("count"))
    return requests.annotate(deciders=Coalesce(count, 0))


def awaits_decision_by(user: AnyUser) -> Q:
    """Return the condition that `user` may decide a request and has not yet, to annotate requests with."""
    undecided = ~Q(Exists(Decision.objects.filter(request=OuterRef("pk"), user=user.pk or 0)))
    if is_superuser(user):
        return undecided
    own = _eligible_members().filter(user=user.pk or 0)
    bound = organization_of_key(user)
    return undecided & Q(Exists(own if bound is None else own.filter(organization=bound)))


@cache
def _eligible_members() -> QuerySet[Membership]:
    """Return the memberships of a request's reviewers, as a subquery of requests, built once."""
    by_role = Q()
    for lowest in Role.values:
        by_role |= Q(reviewer_role=lowest, member_role__in=roles_from(lowest))
    requirements = Requirement.objects.order_by().filter(request=OuterRef(OuterRef("pk")))
    in_group = User.groups.through._default_manager.filter(
        user=OuterRef(OuterRef("user")), group=OuterRef("reviewer_group")
    )
    decided = requirements.alias(member_role=ExpressionWrapper(OuterRef("role"), CharField())).filter(
        WAITING, Q(by_role, reviewer_group=None) | Q(Exists(in_group))
    )
    members = Membership.objects.filter(PERSON, organization=OuterRef("organization"), user__is_active=True)
    members = members.alias(requester=Coalesce(OuterRef("requested_by"), 0))
    return members.filter(Exists(decided), ~Q(user=F("requester")) | ~Q(Exists(requirements.filter(STRICT))))


def reviewer_objection(user: AnyUser, request: ApprovalRequest, verdict: Verdict = Verdict.APPROVE) -> str | None:
    """Return why `user` may not decide so as a reviewer, in one sentence; None when they may."""
    return reviewer_objections(user, [request], verdict)[request.pk]


def reviewer_objections(
    user: AnyUser, requests: Sequence[ApprovalRequest], verdict: Verdict = Verdict.APPROVE
) -> dict[int, str | None]:
    """Return the `reviewer_objection` to each request, by its id, in at most two queries beside the requirements'."""
    standing = Standing(user)
    return {request.pk: _objection(standing, request, verdict) for request in requests}


#: The beginning of that objection, which is true also where nobody else may decide.
OWN_JOB = "You can’t approve your own job."


def _objection(standing: Standing, request: ApprovalRequest, verdict: Verdict) -> str | None:
    requirements = list(request.requirements.all())
    reviewed = [item for item in requirements if standing.reviews(request, item)]
    waiting = [item for item in requirements if item.approvals_missing]
    if not reviewed:
        return _only_they_decide(waiting or requirements)
    if request.requested_by_id == standing.user_id and not _allows_own(requirements):
        return f"{OWN_JOB} Ask another lead or admin."
    is_open = request.status == RequestStatus.PENDING
    if verdict == Verdict.APPROVE and is_open and not any(item.approvals_missing for item in reviewed):
        return f"Your approval isn’t needed. The request waits for {_deciders_text(waiting)}."
    return None


def _only_they_decide(requirements: Sequence[Requirement]) -> str:
    """Return who decides about these, as a sentence for somebody who doesn't."""
    if len({(item.reviewer_role, item.reviewer_group_id) for item in requirements}) == 1:
        if requirements[0].reviewer_group is None and not requirements[0].reviewer_role:
            return "Only superusers can decide about this job: the rule's group was deleted."
        if requirements[0].reviewer_group is not None:
            return f"Only {who_decides(requirements[0])} in the organization can decide about this job."
        return f"Only {who_decides(requirements[0])} of the organization can decide about its jobs."
    return f"Only {_deciders_text(requirements)} in the organization can decide about this job."


def _deciders_text(requirements: Sequence[Requirement]) -> str:
    return ", or ".join(dict.fromkeys(map(who_decides, requirements))) or "superusers"


def decidable_by(user: AnyUser, teams: Sequence[Team]) -> Q:
    """Return the condition for requests that `user`, who is in `teams`, may approve. Superusers may approve all."""
    if is_superuser(user):
        return Q()
    waiting = _reviewed_as(user, teams, Requirement.objects.filter(WAITING))
    strict = Requirement.objects.filter(STRICT, request=OuterRef("pk"))
    return waiting & (~Q(requested_by=user.pk) | ~Q(Exists(strict)))


def decision_objection(user: AnyUser, request: ApprovalRequest, verdict: Verdict = Verdict.APPROVE) -> str | None:
    """Return why `user` may not decide so, in one sentence; None when they may. Superusers always may."""
    return None if is_superuser(user) else reviewer_objection(user, request, verdict)


def bypasses(user: AnyUser, request: ApprovalRequest, verdict: Verdict = Verdict.APPROVE) -> bool:
    """Whether `user` may decide so only as a superuser: such a decision needs a reason and is marked."""
    return is_superuser(user) and reviewer_objection(user, request, verdict) is not None


def may_bypass(user: AnyUser, request: ApprovalRequest) -> bool:
    """Whether `user` is a reviewer who, as a superuser, needs no further approvals."""
    if not is_superuser(user) or bypasses(user, request):
        return False
    standing = Standing(user)
    return any(item.approvals_missing > standing.reviews(request, item) for item in request.requirements.all())


def reviewed_by(user: AnyUser, teams: Sequence[Team]) -> Q:
    """Return the condition for requests that `user`, who is in `teams`, reviews, their own among them."""
    return _reviewed_as(user, teams, Requirement.objects.all())


def reviewed_in(user: AnyUser, team: Team) -> Q:
    """Return the same condition for one organization. Few requests are found before: else each of its would be read."""
    groups = list(_groups_of(user).values_list("pk", flat=True))  # PostgreSQL reads all beside a subquery
    found = Requirement.objects.filter(_in_role(team.role, groups)).order_by().values_list("request", flat=True)
    few = list(found[: FEW + 1])
    return Q(pk__in=few) if len(few) <= FEW else reviewed_by(user, [team])


def _reviewed_as(user: AnyUser, teams: Sequence[Team], requirements: QuerySet[Requirement]) -> Q:
    condition, groups = Q(pk__in=[]), _groups_of(user)
    organizations: dict[str, list[int]] = defaultdict(list)
    for team in teams:
        organizations[team.role].append(team.id)
    for role, theirs in organizations.items():
        reviewed = requirements.order_by().filter(_in_role(role, groups), request=OuterRef("pk"))
        condition |= Q(organization__in=theirs) & Q(Exists(reviewed))
    return condition


def _groups_of(user: AnyUser) -> QuerySet[Group]:
    return Group.objects.filter(user=user.pk or 0)


def _in_role(role: str, groups: Iterable[int] | QuerySet[Group]) -> Q:
    """Return the condition for requirements that are decided by somebody of this role or in these groups."""
    lower = [other for other in Role.values if RANK[Role(other)] <= RANK[Role(role)]]
    return Q(reviewer_group=None, reviewer_role__in=lower) | Q(reviewer_group__in=groups)


def rule_warnings(rule: ApprovalRule) -> list[str]:
    """Return a sentence for each organization with fewer reviewers than the rule needs."""
    organizations = [rule.organization] if rule.organization else list(Organization.objects.all()[:50])
    counts = {item: reviewers_in(item.pk, rule.reviewer_role, rule.reviewer_group_id).count() for item in organizations}
    return [
        f"Organization {item.name} has {count} of the {rule.approvals_needed} reviewers that the rule needs. "
        "Requests there expire without a decision."
        for item, count in counts.items()
        if count < rule.approvals_needed
    ]


_REQUIREMENTS = Prepared(lambda request: Requirement.objects.filter(request=request))


def _reviewers_of(request: ApprovalRequest, item: Requirement, barred: int) -> int:
    """Return how many people other than `barred` may decide about this requirement."""
    if not item.reviewer_role and item.reviewer_group_id is None:
        return 0
    return _reviewers_with(item.reviewer_role)(request.organization_id, item.reviewer_group_id, barred)[0]


@cache
def _reviewers_with(role: str) -> Prepared[int]:
    return Prepared(
        lambda organization, group, barred: counted(reviewers_in(organization, role, group).exclude(pk=barred))
    )


def request_warnings(request: ApprovalRequest | None, requirements: Sequence[Requirement] | None = None) -> list[str]:
    """Return a warning for each requirement of a pending request that has too few reviewers; none for another.

    `requirements`: those of the request, when the caller has them.
    """
    if request is None or request.status != RequestStatus.PENDING:
        return []
    if requirements is None:
        requirements = _REQUIREMENTS(request.pk)
    barred = _barred_requester(request, requirements)
    waiting = [(item, _reviewers_of(request, item, barred)) for item in requirements if item.approvals_missing]
    return [
        _too_few(
            f"The rule {item.rule_name}" if len(requirements) > 1 else "This request", item.approvals_needed, count
        )
        for item, count in waiting
        if count < item.approvals_needed
    ]


def _too_few(subject: str, needed: int, count: int) -> str:
    able = f"only {count}" if count else "nobody"
    return f"{subject} needs {needed} approval{'s' if needed > 1 else ''}, but {able} can approve. Ask an admin."
