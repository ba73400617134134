"""Whether a rule holds a submission."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from approvals.models import ApprovalRule
from approvals.rules import Facts, first_hold, reason_to_hold
from jobs.roles import Role


def facts(**fields: Any) -> Facts:
    defaults: dict[str, Any] = {
        "username": "alice",
        "role": Role.RESEARCHER,
        "organization_id": 1,
        "hardware_profile": "cpu",
        "estimated_cost": Decimal(10),
        "first_job": False,
    }
    return Facts(**{**defaults, **fields})


def dear(limit: int = 5, **fields: Any) -> ApprovalRule:
    return ApprovalRule(name="dear", cost_exceeds=Decimal(limit), **fields)


def test_a_dear_job_is_held_and_the_reason_names_both_figures() -> None:
    assert reason_to_hold(dear(), facts()) == "It will cost about $10.00, more than $5.00."


def test_a_job_that_costs_exactly_the_limit_is_not_held() -> None:
    assert reason_to_hold(dear(10), facts()) is None


def test_a_cost_that_can_not_be_estimated_is_held() -> None:
    assert "can't be estimated" in str(reason_to_hold(dear(), facts(estimated_cost=None)))


def test_a_first_job_is_held() -> None:
    rule = ApprovalRule(name="first", first_job=True)
    assert reason_to_hold(rule, facts(first_job=True)) == "No job of alice has run before."
    assert reason_to_hold(rule, facts()) is None


def test_all_criteria_must_be_met() -> None:
    rule = dear(first_job=True)
    assert reason_to_hold(rule, facts(first_job=True)) is not None
    assert reason_to_hold(rule, facts(first_job=False)) is None
    assert reason_to_hold(rule, facts(first_job=True, estimated_cost=Decimal(1))) is None


def test_exempt_roles_and_other_organizations_are_not_held() -> None:
    assert reason_to_hold(dear(exempt_roles=["lead"]), facts(role=Role.LEAD)) is None
    assert reason_to_hold(dear(organization_id=2), facts()) is None


def test_the_first_rule_that_matches_holds() -> None:
    hold = first_hold([dear(100), dear(5), dear(1)], facts())
    assert hold is not None
    assert hold.rule.cost_exceeds == 5
    assert first_hold([], facts()) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [({}, "at least one criterion"), ({"first_job": True, "exempt_roles": ["boss"]}, "Not a role: 'boss'")],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ApprovalRule(name="odd", **fields).clean()


@pytest.mark.django_db
def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        dear(-1).full_clean()
