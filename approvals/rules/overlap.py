"""Whether two rules may hold the same job: pure, from what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from approvals.rules.evaluation import matches
from jobs.roles import RANK, SUBMITTERS, Role

if TYPE_CHECKING:
    from approvals.models import ApprovalRule


def may_meet(one: ApprovalRule, other: ApprovalRule) -> bool:
    """Whether there may be a job that both rules hold. True where it can't be told, as of two patterns."""
    return (
        _are_compatible(one.organization_id, other.organization_id)
        and _are_compatible(one.provider, other.provider)
        and _patterns_meet(one.hardware, other.hardware)
        and _patterns_meet(one.config_name, other.config_name)
        and bool(_held_roles(one) & _held_roles(other))
    )


def _are_compatible(one: object, other: object) -> bool:
    return not one or not other or one == other


def _patterns_meet(one: str, other: str) -> bool:
    if not one or not other:
        return True
    return matches(one, other) or matches(other, one) or (_is_pattern(one) and _is_pattern(other))


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def _held_roles(rule: ApprovalRule) -> set[str]:
    """Return the roles of submitters whom the rule may hold."""
    highest = RANK[rule.role_at_most] if rule.role_at_most else RANK[Role.ADMIN]
    return {role for role in SUBMITTERS if RANK[role] <= highest and role not in rule.exempt_roles}
