"""Whether a rule holds a submission."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from approvals.models import MAX_GLOB_CHARS, ApprovalRule
from approvals.rules.evaluation import Facts, all_holds, joined_reasons, judge, matches
from jobs.roles import Role


def facts(**fields: Any) -> Facts:
    defaults: dict[str, Any] = {
        "username": "alice",
        "role": Role.RESEARCHER,
        "organization_id": 1,
        "provider": "local",
        "hardware_profile": "cpu",
        "config_name": "flux",
        "estimated_cost": Decimal(10),
        "first_job": False,
        "jobs_in_day": 1,
    }
    return Facts(**{**defaults, **fields})


def reason_to_hold(rule: ApprovalRule, about: Facts) -> str | None:
    judgement = judge(rule, about)
    return judgement.reason if judgement.holds else None


def dear(limit: int = 5, **fields: Any) -> ApprovalRule:
    return ApprovalRule(name="dear", cost_exceeds=Decimal(limit), **fields)


def test_a_dear_job_is_held_and_the_reason_names_both_figures() -> None:
    assert reason_to_hold(dear(), facts()) == "Estimated $10.00, above the $5.00 limit."


def test_a_job_that_costs_exactly_the_limit_is_not_held() -> None:
    assert reason_to_hold(dear(10), facts()) is None


def test_a_cost_that_can_not_be_estimated_is_held() -> None:
    for about, why in (
        ({"cost_doubt": "max_train_steps is 'many'."}, "max_train_steps is 'many'."),
        ({}, "there is no price for CPU."),
        ({"hardware_profile": ""}, "there is no price for the default hardware."),
    ):
        text = f"The cost can't be estimated: {why}"
        assert reason_to_hold(dear(), facts(estimated_cost=None, **about)) == text


def test_a_first_job_is_held() -> None:
    rule = ApprovalRule(name="first", first_job=True)
    assert reason_to_hold(rule, facts(first_job=True)) == "This is the first job of alice."
    assert reason_to_hold(rule, facts()) is None


def test_all_criteria_must_be_met() -> None:
    rule = dear(first_job=True)
    assert reason_to_hold(rule, facts(first_job=True)) is not None
    assert reason_to_hold(rule, facts(first_job=False)) is None
    assert reason_to_hold(rule, facts(first_job=True, estimated_cost=Decimal(1))) is None


def test_exempt_roles_and_other_organizations_are_not_held() -> None:
    assert reason_to_hold(dear(exempt_roles=["lead"]), facts(role=Role.LEAD)) is None
    assert reason_to_hold(dear(organization_id=2), facts()) is None


def test_every_rule_that_matches_holds_in_the_order_of_the_rules() -> None:
    holds = all_holds([dear(100), dear(5), ApprovalRule(name="cpus", hardware="cpu"), dear(1)], facts())
    assert [hold.rule.name for hold in holds] == ["dear", "cpus", "dear"]
    assert [hold.rule.cost_exceeds for hold in holds] == [5, None, 1]
    assert all_holds([], facts()) == all_holds([dear(100)], facts()) == []


def test_the_reasons_are_joined_in_order_and_said_once() -> None:
    rules = [dear(5), ApprovalRule(name="cpus", hardware="cpu"), dear(5)]
    assert (
        joined_reasons(all_holds(rules, facts()))
        == "Estimated $10.00, above the $5.00 limit. The hardware CPU is restricted."
    )
    assert joined_reasons([]) == ""


def test_a_role_that_one_rule_exempts_is_held_by_the_others() -> None:
    exempting, strict = dear(exempt_roles=["lead"]), dear(6)
    assert [hold.rule for hold in all_holds([exempting, strict], facts(role=Role.LEAD))] == [strict]


MET: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"provider": "replicate"}, {"provider": "replicate"}, "The provider replicate is restricted."),
    ({"hardware": "gpu-*"}, {"hardware_profile": "gpu-h100"}, "The hardware gpu-h100 is restricted."),
    ({"config_name": "*full*"}, {"config_name": "flux-full-2"}, "The config name flux-full-2 is restricted."),
    ({"role_at_most": "researcher"}, {"role": Role.VIEWER}, "alice is a viewer."),
    ({"role_at_most": "researcher"}, {}, "alice is a researcher."),
    ({"role_at_most": "viewer"}, {"role": None}, "alice is not a member."),
    ({"jobs_in_day_exceed": 3}, {"jobs_in_day": 4}, "Job 4 of alice in 24 hours, above the limit of 3."),
    ({"organization_id": 1}, {}, "Every job of the organization needs approval."),
]


@pytest.mark.parametrize(("fields", "about", "text"), MET)
def test_a_criterion_that_is_met_holds_and_says_so(fields: dict[str, Any], about: dict[str, Any], text: str) -> None:
    assert reason_to_hold(ApprovalRule(name="r", **fields), facts(**about)) == text


UNMET: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"cost_exceeds": Decimal(50)}, {}, "Estimated $10.00, within the $50.00 limit."),
    ({"provider": "replicate"}, {}, "The provider is local, not replicate."),
    ({"hardware": "gpu-*"}, {}, "The hardware is CPU, not gpu-*."),
    ({"config_name": "*full*"}, {}, "The config name is flux, not *full*."),
    ({"role_at_most": "viewer"}, {}, "alice is a researcher, above viewer."),
    ({"jobs_in_day_exceed": 3}, {"jobs_in_day": 3}, "Job 3 of alice in 24 hours, within the limit of 3."),
    ({"first_job": True}, {}, "This isn't the first job of alice."),
    ({"organization_id": 2}, {}, "The rule is for another organization."),
    ({"first_job": True, "exempt_roles": ["researcher"]}, {}, "alice is exempt as researcher."),
]


@pytest.mark.parametrize(("fields", "about", "text"), UNMET)
def test_a_criterion_that_is_not_met_says_why_not(fields: dict[str, Any], about: dict[str, Any], text: str) -> None:
    judgement = judge(ApprovalRule(name="r", **fields), facts(**about))
    assert (judgement.holds, judgement.reason) == (False, text)


def test_a_limit_of_no_jobs_and_no_dollars_is_a_criterion_too() -> None:
    no_jobs = ApprovalRule(name="r", jobs_in_day_exceed=0)
    assert reason_to_hold(no_jobs, facts()) == "Job 1 of alice in 24 hours, above the limit of 0."
    assert reason_to_hold(no_jobs, facts(jobs_in_day=0)) is None
    assert reason_to_hold(dear(0), facts()) == "Estimated $10.00, above the $0.00 limit."
    assert reason_to_hold(dear(0), facts(estimated_cost=Decimal(0))) is None


@pytest.mark.parametrize("fields", [{"exempt_roles": 5}, {"role_at_most": "boss"}, {"cost_exceeds": "dear"}])
def test_a_rule_that_can_not_be_evaluated_holds_and_says_so(fields: dict[str, Any]) -> None:
    judgement = judge(ApprovalRule(**{"name": "odd", "first_job": True, **fields}), facts(first_job=True))
    assert (judgement.holds, judgement.reason) == (
        True,
        "The rule odd could not be evaluated, so the job needs approval.",
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [({}, "at least one criterion"), ({"first_job": True, "exempt_roles": ["boss"]}, "Not a role: “boss”")],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ApprovalRule(name="odd", **fields).clean()


@pytest.mark.django_db
def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        dear(-1).full_clean()


@pytest.mark.django_db
def test_the_database_keeps_no_rule_without_a_criterion() -> None:
    with pytest.raises(IntegrityError):
        ApprovalRule.objects.create(name="empty")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("gpu-a100*", "gpu-a100-large"),
        ("*", ""),
        ("*", "anything"),
        ("**", "anything"),
        ("a*b*c", "a-b-b-c"),
        ("a*c*c", "acc"),
        ("gpu-?100", "gpu-h100"),
        ("*full?finetune*", "flux-full-finetune-2"),
        ("GPU-*", "gpu-t4"),
        ("cpu", "cpu"),
        ("[x]", "[x]"),
        ("[!a]*", "[!a]-1"),
        ("a?c", "a\nc"),
    ],
)
def test_a_pattern_means_the_whole_name(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("cpu", "cpus"),
        ("a*a", "a"),
        ("a*b*b", "ab"),
        ("?", ""),
        ("gpu-*", "cpu"),
        ("*x", "xy"),
        ("ab*bc", "abc"),
        ("[xy]", "x"),
    ],
)
def test_another_name_is_another_name(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


@pytest.mark.parametrize("part", ["*", "*a", "*a*b", "*?", "?*", "*a?", "*aaaaaaaaab"])
def test_no_pattern_takes_long(part: str) -> None:
    pattern = (part * MAX_GLOB_CHARS)[:MAX_GLOB_CHARS]
    began = time.process_time()
    matches(pattern, "a" * 10_000)
    assert time.process_time() - began < 0.5


def test_a_pattern_has_a_greatest_length() -> None:
    ApprovalRule(name="long", config_name="*" * MAX_GLOB_CHARS).clean_fields()
    with pytest.raises(ValidationError, match="at most 200 characters"):
        ApprovalRule(name="long", config_name="*" * (MAX_GLOB_CHARS + 1)).clean_fields()


@pytest.mark.parametrize("criterion", ["cost_exceeds", "jobs_in_day_exceed"])
def test_a_criterion_of_0_is_a_criterion(criterion: str) -> None:
    rule = ApprovalRule(name="all", **{criterion: 0})
    rule.clean()
    assert rule.condition() == {criterion: 0}
    assert judge(rule, facts(estimated_cost=Decimal("0.01"), jobs_in_day=1)).holds
    assert not judge(rule, facts(estimated_cost=Decimal(0), jobs_in_day=0)).holds


def test_a_criterion_of_0_counts_beside_another() -> None:
    rule = ApprovalRule(name="dear", cost_exceeds=0, hardware="h100")
    assert not judge(rule, facts(estimated_cost=Decimal(0), hardware_profile="h100")).holds


def test_what_is_in_doubt_is_held_with_the_key_that_was_the_matter() -> None:
    doubt = "max_train_steps is true, which is not a whole number from 0 to 2,147,483,647."
    rule = ApprovalRule(name="dear", cost_exceeds=10)
    assert doubt in judge(rule, facts(estimated_cost=None, cost_doubt=doubt)).reason
