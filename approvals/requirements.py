"""The requirements of a request: as the rules make them, as another request keeps them, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal

from approvals.models import ApprovalRequest, ApprovalRule, Requirement
from approvals.rules.evaluation import Hold
from cloudtrain_site.database.fast_sql import insert, unsaved

#: What a rule asks of the reviewers. An approval under other terms doesn't count for the rule.
TERMS = ("reviewer_role", "reviewer_group_id", "approvals_needed", "self_approval", "max_cost_usd")
COPIED = ("rule_id", "rule_name", "reason", *TERMS, "expires_after_hours")


def requirements_of(holds: Sequence[Hold]) -> list[Requirement]:
    """Return what the rules require now, in the order of `holds`, not saved and of no request yet."""
    return [
        unsaved(
            Requirement,
            position=position,
            rule=hold.rule,
            rule_name=hold.rule.name,
            reason=hold.reason,
            expires_after_hours=hold.rule.expires_after_hours,
            **_terms_now(hold.rule),
        )
        for position, hold in enumerate(holds)
    ]


def _terms_now(rule: ApprovalRule) -> dict[str, object]:
    terms = {name: getattr(rule, name) for name in TERMS}
    return terms | ({"reviewer_role": ""} if rule.reviewer_group_id is not None else {})


def copies(requirements: Iterable[Requirement], *, with_approvals: bool) -> list[Requirement]:
    """Return the same requirements for another request, not saved; without their approvals they all wait again."""
    return [
        Requirement(
            position=item.position,
            approvals_given=item.approvals_given if with_approvals else 0,
            **{name: getattr(item, name) for name in COPIED},
        )
        for item in requirements
    ]


def joined(first: Sequence[Requirement], others: Iterable[Requirement]) -> list[Requirement]:
    """Return `first`, and those of `others` of other rules, in this order. None of them is saved."""
    rules = {item.rule_id for item in first}
    # Of rules that are no more nothing but the requirement is left: each stays.
    requirements = [*first, *(item for item in others if item.rule_id is None or item.rule_id not in rules)]
    for position, requirement in enumerate(requirements):
        requirement.position = position
    return requirements


def attach(requirements: Iterable[Requirement], request: ApprovalRequest) -> None:
    rows = list(requirements)
    for requirement in rows:
        requirement.request = request
    insert(rows)


def lowest_limit(requirements: Iterable[Requirement], *further: Decimal | None) -> Decimal | None:
    """Return the lowest of the rules' and the `further` limits of a job's cost, in US dollars; None: there is none."""
    limits = [*(item.max_cost_usd for item in requirements), *further]
    return min((limit for limit in limits if limit is not None), default=None)


def shortest_life(requirements: Iterable[Requirement]) -> timedelta:
    return timedelta(hours=min(item.expires_after_hours for item in requirements))


def are_among(required: Iterable[Requirement], approved: Iterable[Requirement]) -> bool:
    """Whether each is among `approved`: of the same rule and under the same terms."""
    return {_rule_and_terms(item) for item in required} <= {_rule_and_terms(item) for item in approved}


def _rule_and_terms(requirement: Requirement) -> tuple[object, ...]:
    return tuple(getattr(requirement, name) for name in ("rule_id", *TERMS))


def progress(requirements: Iterable[Requirement]) -> str:
    """Return the approvals so far: "1 of 2 approvals"; of two rules "1 of 1 approvals for dear, 0 of 2 for gpus"."""
    first, *others = [(f"{item.approvals_given} of {item.approvals_needed}", item.rule_name) for item in requirements]
    if not others:
        return f"{first[0]} approvals"
    return ", ".join([f"{first[0]} approvals for {first[1]}", *(f"{count} for {name}" for count, name in others)])


def missing(requirements: Iterable[Requirement]) -> str:
    """Return the approvals that are still needed: "1 more", of several rules "1 more for dear, 2 more for gpus"."""
    rows = list(requirements)
    counts = [(f"{item.approvals_missing} more", item.rule_name) for item in rows if item.approvals_missing]
    return ", ".join(f"{count} for {name}" if len(rows) > 1 else count for count, name in counts)
