"""Adding a rule, whoever adds it and whatever it says, lets no job through that was held before."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals import decisions
from approvals.intake import SubmissionRequest, forecast, submit
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.requirements import are_among, requirements_of, shortest_life
from approvals.rules.evaluation import Facts, all_holds
from approvals.submissions import repeat_submission
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from tests.factories import make_user

#: `CLOUDTRAIN_RULE_EXAMPLES=1000` for the long run.
EXAMPLES = int(os.environ.get("CLOUDTRAIN_RULE_EXAMPLES", "25"))
ROLES = st.sampled_from(Role.values)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "cost_exceeds": st.sampled_from([0, 1, 100]),
        "first_job": st.just(True),
        "provider": st.sampled_from(["local", "replicate"]),
        "hardware": st.sampled_from(["cpu", "c*", "gpu-*"]),
        "config_name": st.sampled_from(["flux", "*", "sdxl"]),
        "role_at_most": ROLES,
        "jobs_in_day_exceed": st.sampled_from([0, 1, 3]),
    },
)
REQUIREMENTS = st.fixed_dictionaries(
    {
        "enabled": st.sampled_from([True, True, True, False]),
        "priority": st.integers(-(2**31), 2**31 - 1),
        "exempt_roles": st.lists(ROLES, max_size=2),
        "reviewer_role": st.sampled_from([Role.RESEARCHER, Role.LEAD, Role.ADMIN]),
        "in_group": st.booleans(),
        "approvals_needed": st.integers(1, 3),
        "self_approval": st.booleans(),
        "expires_after_hours": st.sampled_from([1, 24, 8760]),
    }
)
#: The condition, the approvals that it needs, and whose rule it is: everybody's, acme's or the other organization's.
RULE = st.tuples(CONDITIONS, REQUIREMENTS, st.sampled_from(["", "acme", "other"])).filter(
    lambda rule: rule[0] or rule[2]
)
RULES = st.lists(RULE, max_size=5)
#: Rules that hold most jobs of the fixtures, and that few people satisfy: at random, rules seldom meet.
LIKELY = st.tuples(
    st.sampled_from([{"provider": "local"}, {"hardware": "c*"}, {"config_name": "*"}, {"provider": "replicate"}]),
    st.fixed_dictionaries(
        {
            "enabled": st.just(True),
            "priority": st.integers(1, 3),
            "exempt_roles": st.sampled_from([[], [], [Role.LEAD]]),
            "reviewer_role": st.sampled_from([Role.RESEARCHER, Role.LEAD, Role.ADMIN]),
            "in_group": st.sampled_from([False, False, True]),
            "approvals_needed": st.integers(1, 2),
            "self_approval": st.booleans(),
            "expires_after_hours": st.sampled_from([1, 24]),
        }
    ),
    st.sampled_from(["", "acme"]),
)
FEW = st.lists(LIKELY, min_size=1, max_size=3)
ORGANIZATIONS = {"acme": 1, "other": 2}
Drawn = tuple[dict[str, Any], dict[str, Any], str]
FACTS = st.builds(
    Facts,
    username=st.just("alice"),
    role=st.sampled_from([None, *Role]),
    organization_id=st.sampled_from([1, 2]),
    provider=st.sampled_from(["local", "replicate"]),
    hardware_profile=st.sampled_from(["cpu", "gpu-h100"]),
    config_name=st.sampled_from(["flux", "sdxl"]),
    estimated_cost=st.sampled_from([None, 0, 1, 50, 1000]),
    first_job=st.booleans(),
    jobs_in_day=st.integers(1, 5),
)


def unsaved(number: int, drawn: Drawn) -> ApprovalRule:
    condition, requirement, organization = drawn
    others = {name: value for name, value in requirement.items() if name != "in_group"}
    group = 1 if requirement["in_group"] else None
    return ApprovalRule(
        pk=number, organization_id=ORGANIZATIONS.get(organization), reviewer_group_id=group, **condition, **others
    )


def in_order(rules: Sequence[ApprovalRule]) -> list[ApprovalRule]:
    return sorted((rule for rule in rules if rule.enabled), key=lambda rule: (rule.priority, rule.pk))


@given(drawn=RULES, added=RULE, approved_ids=st.sets(st.integers(0, 5)), facts=FACTS)
def test_a_further_rule_adds_holds_and_covers_less(
    drawn: list[Drawn], added: Drawn, approved_ids: set[int], facts: Facts
) -> None:
    rules = [unsaved(number, rule) for number, rule in enumerate(drawn)]
    more = [*rules, unsaved(len(rules), added)]
    before, after = all_holds(in_order(rules), facts), all_holds(in_order(more), facts)
    assert {hold.rule.pk for hold in before} <= {hold.rule.pk for hold in after}
    approved = requirements_of(all_holds(in_order([rule for rule in more if rule.pk in approved_ids]), facts))
    required, further = requirements_of(before), requirements_of(after)
    assert are_among(required, approved) or not are_among(further, approved)
    assert not before or shortest_life(further) <= shortest_life(required)


@pytest.fixture
def people(acme: Organization, alice: User, bob: User) -> list[User]:
    """Those who may decide under one rule or another; the first one submits."""
    group, vera = Group.objects.create(name="safety"), make_user("vera", acme, Role.VIEWER)
    ada, carol = make_user("ada", acme, Role.ADMIN), make_user("carol", acme, Role.LEAD)
    for member in (vera, carol):
        member.groups.add(group)
    Organization.objects.create(name="other")
    return [alice, bob, carol, ada, vera]


def store(number: int, drawn: Drawn) -> ApprovalRule:
    condition, requirement, organization = drawn
    others = {name: value for name, value in requirement.items() if name != "in_group"}
    return ApprovalRule.objects.create(
        name=f"rule-{number}",
        organization=Organization.objects.get(name=organization) if organization else None,
        reviewer_group=Group.objects.get() if requirement["in_group"] else None,
        **condition,
        **others,
    )


def undone(action: Callable[[], bool]) -> bool:
    """Return what the action returns, and undo what it has stored."""
    with transaction.atomic():
        result = action()
        transaction.set_rollback(True)
    return result


def goes(request: ApprovalRequest | None) -> bool:
    return request is None or ApprovalRequest.objects.get(pk=request.pk).status == "approved"


def goes_after(requested: SubmissionRequest, rules: list[Drawn], approvers: list[User]) -> bool:
    """Whether a submission goes under these rules, once all these people have approved it as far as they may."""
    for number, rule in enumerate(rules):
        store(number, rule)
    request = submit(requested).approval
    for user in approvers if request else ():
        decisions.approve(ApprovalRequest.objects.get(), user=user, source=Source.API)
    return goes(request)


@pytest.mark.slow
@pytest.mark.django_db
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    drawn=FEW, added=LIKELY, approving=st.permutations(range(5)), count=st.integers(1, 2), submitter=st.integers(0, 3)
)
def test_who_can_not_let_a_job_go_can_not_by_a_further_rule(
    submission_request: Callable[..., SubmissionRequest],
    people: list[User],
    drawn: list[Drawn],
    added: Drawn,
    approving: list[int],
    count: int,
    submitter: int,
) -> None:
    approvers = [people[number] for number in approving[:count]]
    requested = submission_request(user=people[submitter])
    before = undone(lambda: goes_after(requested, drawn, approvers))
    after = undone(lambda: goes_after(requested, [*drawn, added], approvers))
    assert before or not after


def approved_and_failed(requested: SubmissionRequest, root: User) -> Job:
    outcome = submit(requested)
    if outcome.approval is not None:
        decisions.approve(outcome.approval, user=root, source=Source.API, notes="all of it")
    outcome.job.refresh_from_db()
    lifecycle.finish(outcome.job, JobStatus.FAILED, actor=SYSTEM, source=Source.DISPATCHER, reason="no room")
    claims.end(outcome.job)
    return outcome.job


@pytest.mark.slow
@pytest.mark.django_db
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck])
@given(approved=FEW, later=FEW, added=LIKELY)
def test_a_retry_that_is_held_is_held_under_a_further_rule_too(
    submission_request: Callable[..., SubmissionRequest],
    people: list[User],
    root: User,
    approved: list[Drawn],
    later: list[Drawn],
    added: Drawn,
) -> None:
    def goes_again(rules: list[Drawn]) -> bool:
        for number, rule in enumerate(approved):
            store(number, rule)
        job = approved_and_failed(submission_request(), root)
        for number, rule in enumerate(rules):
            store(len(approved) + number, rule)
        again = repeat_submission(people[0], job, source=Source.API, idempotency_key="")
        holds = {hold.rule.name for hold in forecast(again).holds}
        covered = goes(submit(again).approval)
        assert covered == (holds <= {f"rule-{number}" for number in range(len(approved))})
        return covered

    before, after = undone(lambda: goes_again(later)), undone(lambda: goes_again([*later, added]))
    assert before or not after
