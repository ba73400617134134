"""Which rules may hold the same job."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.models import ApprovalRule
from approvals.rules.overlap import may_meet

ALL_SUBMITTERS = ["researcher", "lead", "admin"]
MEET: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"cost_exceeds": 5}, {"first_job": True}),
    ({"provider": "local"}, {"provider": "local"}),
    ({"provider": "local"}, {"hardware": "gpu-*"}),
    ({"hardware": "gpu-*"}, {"hardware": "GPU-h100"}),
    ({"hardware": "gpu-*"}, {"hardware": "*-h100"}),
    ({"config_name": "flux"}, {"config_name": "f?ux"}),
    ({"organization_id": 1}, {"provider": "local"}),
    ({"organization_id": 1}, {"organization_id": 1}),
    ({"role_at_most": "researcher"}, {"exempt_roles": ["lead", "admin"]}),
    ({"cost_exceeds": 1000}, {"cost_exceeds": 0}),
]
APART: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"provider": "local"}, {"provider": "replicate"}),
    ({"hardware": "cpu"}, {"hardware": "gpu-*"}),
    ({"hardware": "cpu"}, {"hardware": "cpus"}),
    ({"config_name": "flux"}, {"config_name": "sdxl*"}),
    ({"organization_id": 1}, {"organization_id": 2}),
    ({"role_at_most": "researcher"}, {"exempt_roles": ["researcher"]}),
    ({"provider": "local"}, {"exempt_roles": ALL_SUBMITTERS}),
]


@pytest.mark.parametrize(("one", "other"), MEET)
def test_rules_that_one_job_may_match_meet(one: dict[str, Any], other: dict[str, Any]) -> None:
    rules = ApprovalRule(name="a", **one), ApprovalRule(name="b", **other)
    assert may_meet(*rules) and may_meet(*rules[::-1])


@pytest.mark.parametrize(("one", "other"), APART)
def test_rules_that_no_job_can_match_together_do_not_meet(one: dict[str, Any], other: dict[str, Any]) -> None:
    rules = ApprovalRule(name="a", **one), ApprovalRule(name="b", **other)
    assert not may_meet(*rules) and not may_meet(*rules[::-1])
