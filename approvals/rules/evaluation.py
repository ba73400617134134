"""The evaluation of rules: pure, from the facts about a submission."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from jobs.providers.hardware_names import hardware_label, lacks_price
from jobs.roles import RANK, Role

if TYPE_CHECKING:
    from approvals.models import ApprovalRule

logger = logging.getLogger("simpletuner.cloud.approvals")


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about a submission that rules judge by."""

    username: str
    role: Role | None
    organization_id: int | None
    provider: str
    hardware_profile: str
    config_name: str
    #: US dollars, the upper end of the estimate; None when it is not known.
    estimated_cost: Decimal | None
    #: Whether no job of the submitter has been handed to a provider yet; False when no rule goes by it.
    first_job: bool
    #: The number of the submitter's jobs in the last 24 hours, this one included; 1 when no rule goes by it.
    jobs_in_day: int
    #: Why the cost is not known; empty when it is.
    cost_doubt: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of one rule about a submission, and the reason as a sentence."""

    holds: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A rule that holds a submission, and the reason as a sentence."""

    rule: ApprovalRule
    reason: str


def all_holds(rules: Iterable[ApprovalRule], facts: Facts) -> list[Hold]:
    """Return the holds of all `rules` that hold the submission, in their order: each of them counts."""
    judged = ((rule, judge(rule, facts)) for rule in rules)
    return [Hold(rule, judgement.reason) for rule, judgement in judged if judgement.holds]


def joined_reasons(holds: Iterable[Hold]) -> str:
    """Return the reasons in order, one that several rules give once."""
    return " ".join(dict.fromkeys(hold.reason for hold in holds))


def judge(rule: ApprovalRule, facts: Facts) -> Judgement:
    """Whether `rule` holds the submission: when all the criteria that it sets are met.

    A criterion that can't be checked counts as met, and a rule that can't be read holds: no rule is escaped by a
    missing price or by a mistake in the rule.
    """
    try:
        return _judge(rule, facts)
    except Exception:
        logger.exception("An approval rule could not be evaluated", extra={"rule": rule.name})
        return Judgement(True, f"The rule {rule.name} could not be evaluated, so the job needs approval.")


def _judge(rule: ApprovalRule, facts: Facts) -> Judgement:
    if rule.organization_id is not None and rule.organization_id != facts.organization_id:
        return Judgement(False, "The rule is for another organization.")
    if facts.role in rule.exempt_roles:
        return Judgement(False, f"{facts.username} is exempt as {facts.role}.")
    met = []
    for judgement in _judgements(rule, facts):
        if not judgement.holds:
            return judgement
        met.append(judgement.reason)
    return Judgement(True, " ".join(met) or "Every job of the organization needs approval.")


def _judgements(rule: ApprovalRule, facts: Facts) -> Iterator[Judgement]:
    """Yield the judgement of each criterion that the rule sets, the cheap ones first."""
    condition = rule.condition()
    return (check(rule, facts) for name, check in CRITERION_CHECKS.items() if name in condition)


def _cost(rule: ApprovalRule, facts: Facts) -> Judgement:
    limit = rule.cost_exceeds or Decimal(0)
    if facts.estimated_cost is None:
        why = facts.cost_doubt or lacks_price(facts.hardware_profile)
        return Judgement(True, f"The cost can't be estimated: {why}")
    if facts.estimated_cost <= limit:
        return Judgement(False, f"Estimated ${facts.estimated_cost:,.2f}, within the ${limit:,.2f} limit.")
    return Judgement(True, f"Estimated ${facts.estimated_cost:,.2f}, above the ${limit:,.2f} limit.")


def _first_job(rule: ApprovalRule, facts: Facts) -> Judgement:
    if facts.first_job:
        return Judgement(True, f"This is the first job of {facts.username}.")
    return Judgement(False, f"This isn't the first job of {facts.username}.")


def _provider(rule: ApprovalRule, facts: Facts) -> Judgement:
    if facts.provider == rule.provider:
        return Judgement(True, f"The provider {facts.provider} is restricted.")
    return Judgement(False, f"The provider is {facts.provider}, not {rule.provider}.")


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is as `pattern` says: `*` is anything, `?` one character, case doesn't count.

    A pattern of MAX_GLOB_CHARS characters, however it is made, takes about a millisecond.
    """
    # A bracket is a bracket, where fnmatch would begin a set of characters.
    return fnmatchcase(text.casefold(), pattern.casefold().replace("[", "[[]"))


def _hardware(rule: ApprovalRule, facts: Facts) -> Judgement:
    hardware = hardware_label(facts.hardware_profile)
    if matches(rule.hardware, facts.hardware_profile):
        return Judgement(True, f"The hardware {hardware} is restricted.")
    return Judgement(False, f"The hardware is {hardware}, not {hardware_label(rule.hardware)}.")


def _config_name(rule: ApprovalRule, facts: Facts) -> Judgement:
    if matches(rule.config_name, facts.config_name):
        return Judgement(True, f"The config name {facts.config_name} is restricted.")
    return Judgement(False, f"The config name is {facts.config_name}, not {rule.config_name}.")


def _role(rule: ApprovalRule, facts: Facts) -> Judgement:
    standing = f"{facts.username} is {f'a {facts.role}' if facts.role else 'not a member'}"
    # A submitter who is no member (any more) ranks below every role.
    if facts.role is None or RANK[facts.role] <= RANK[rule.role_at_most]:
        return Judgement(True, f"{standing}.")
    return Judgement(False, f"{standing}, above {rule.role_at_most}.")


def _jobs_in_day(rule: ApprovalRule, facts: Facts) -> Judgement:
    limit = rule.jobs_in_day_exceed or 0
    count = f"Job {facts.jobs_in_day} of {facts.username} in 24 hours"
    if facts.jobs_in_day > limit:
        return Judgement(True, f"{count}, above the limit of {limit}.")
    return Judgement(False, f"{count}, within the limit of {limit}.")


#: The checks, by the column of their criterion.
CRITERION_CHECKS: dict[str, Callable[[ApprovalRule, Facts], Judgement]] = {
    "provider": _provider,
    "first_job": _first_job,
    "role_at_most": _role,
    "jobs_in_day_exceed": _jobs_in_day,
    "cost_exceeds": _cost,
    "hardware": _hardware,
    "config_name": _config_name,
}
