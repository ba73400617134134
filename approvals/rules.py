"""Whether a rule holds a submission: pure, from the facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from approvals.models import ApprovalRule
from jobs.roles import Role


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at."""

    username: str
    role: Role | None
    organization_id: int | None
    hardware_profile: str
    #: US dollars; None when there is no price or no number of steps.
    estimated_cost: Decimal | None
    #: No job of the submitter's has ever been handed to a provider.
    first_job: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """The rule that holds a submission, and why, in words."""

    rule: ApprovalRule
    reason: str


def first_hold(rules: Iterable[ApprovalRule], facts: Facts) -> Hold | None:
    """The first of `rules`, in their order, that holds the submission."""
    for rule in rules:
        reason = reason_to_hold(rule, facts)
        if reason is not None:
            return Hold(rule, reason)
    return None


def reason_to_hold(rule: ApprovalRule, facts: Facts) -> str | None:
    """Why `rule` holds the submission, or None. All the criteria that it sets must be met.

    A criterion that can't be checked counts as met: no rule is escaped by a missing price.
    """
    if facts.role in rule.exempt_roles or not _concerns(rule, facts):
        return None
    reasons = []
    if rule.cost_exceeds is not None:
        reasons.append(_about_cost(rule.cost_exceeds, facts))
    if rule.first_job:
        reasons.append(f"No job of {facts.username} has run before." if facts.first_job else None)
    met = [reason for reason in reasons if reason is not None]
    return " ".join(met) if met and len(met) == len(reasons) else None


def _concerns(rule: ApprovalRule, facts: Facts) -> bool:
    return rule.organization_id is None or rule.organization_id == facts.organization_id


def _about_cost(limit: Decimal, facts: Facts) -> str | None:
    if facts.estimated_cost is None:
        hardware = facts.hardware_profile or "the default hardware"
        return f"Its cost can't be estimated (no price for {hardware}, or no number of steps), so a person decides."
    if facts.estimated_cost <= limit:
        return None
    return f"It will cost about ${facts.estimated_cost:.2f}, more than ${limit:.2f}."
