"""The shapes of rules: what comes in, checked, and what goes out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from rest_framework import serializers

from approvals.models import GLOB_LIMIT, MAX_HOURS, ApprovalRule
from cloudtrain_site.api import StrictSerializer
from jobs.roles import Role


class ConditionBody(StrictSerializer):
    """The criteria of a rule: each that is given must be met; null, "" and false set none."""

    cost_exceeds = serializers.DecimalField(
        max_digits=12, decimal_places=4, min_value=0, allow_null=True, required=False, coerce_to_string=False
    )
    first_job = serializers.BooleanField(required=False)
    provider = serializers.CharField(max_length=40, allow_blank=True, required=False)
    hardware = serializers.CharField(max_length=GLOB_LIMIT, allow_blank=True, required=False)
    config_name = serializers.CharField(max_length=GLOB_LIMIT, allow_blank=True, required=False)
    role_at_most = serializers.ChoiceField(choices=Role.choices, allow_blank=True, required=False)
    jobs_in_day_exceed = serializers.IntegerField(min_value=0, max_value=10**9, allow_null=True, required=False)


#: What a rule's columns are when its condition doesn't mention them.
NO_CONDITION: dict[str, Any] = {
    "cost_exceeds": None,
    "first_job": False,
    "provider": "",
    "hardware": "",
    "config_name": "",
    "role_at_most": "",
    "jobs_in_day_exceed": None,
}


class RuleBody(StrictSerializer):
    """A rule as a client writes it; what a change leaves out stays as it was, but a condition comes whole."""

    type = serializers.CharField(max_length=100, required=False)
    name = serializers.CharField(max_length=100, required=False)
    condition = ConditionBody(required=False)
    enabled = serializers.BooleanField(required=False)
    priority = serializers.IntegerField(min_value=-(2**31), max_value=2**31 - 1, required=False)
    organization = serializers.CharField(max_length=100, allow_null=True, allow_blank=True, required=False)
    exempt_roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), required=False)
    reviewer_role = serializers.ChoiceField(
        choices=[choice for choice in Role.choices if choice[0] != Role.VIEWER], required=False
    )
    reviewer_group = serializers.SlugRelatedField(
        slug_field="name", queryset=Group.objects.all(), allow_null=True, required=False
    )
    approvals_needed = serializers.IntegerField(min_value=1, max_value=10, required=False)
    self_approval = serializers.BooleanField(required=False)
    expires_after_hours = serializers.IntegerField(min_value=1, max_value=MAX_HOURS, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Each value under the name of its column; a rule's `type` is its name."""
        name = attrs.pop("type", None)
        if name is not None:
            attrs.setdefault("name", name)
        condition = attrs.pop("condition", None)
        return attrs if condition is None else {**attrs, **NO_CONDITION, **condition}


def represent_rule(rule: ApprovalRule) -> dict[str, Any]:
    """The rule as the contract shows it."""
    condition = rule.condition()
    if "cost_exceeds" in condition:
        condition["cost_exceeds"] = float(condition["cost_exceeds"])
    return {
        "id": rule.pk,
        "type": rule.name,
        "name": rule.name,
        "condition": condition,
        "enabled": rule.enabled,
        "priority": rule.priority,
        "organization": rule.organization.name if rule.organization else None,
        "exempt_roles": rule.exempt_roles,
        "reviewer_role": rule.reviewer_role,
        "reviewer_group": rule.reviewer_group.name if rule.reviewer_group else None,
        "approvals_needed": rule.approvals_needed,
        "self_approval": rule.self_approval,
        "expires_after_hours": rule.expires_after_hours,
    }


class RuleShape(serializers.Serializer[Any]):
    """A rule: its type is its name, its condition what it sets."""

    id = serializers.IntegerField()
    type = serializers.CharField()
    name = serializers.CharField()
    condition = ConditionBody()
    enabled = serializers.BooleanField()
    priority = serializers.IntegerField()
    organization = serializers.CharField(allow_null=True)
    exempt_roles = serializers.ListField(child=serializers.CharField())
    reviewer_role = serializers.CharField()
    reviewer_group = serializers.CharField(allow_null=True)
    approvals_needed = serializers.IntegerField()
    self_approval = serializers.BooleanField()
    expires_after_hours = serializers.IntegerField()


class RuleListShape(serializers.Serializer[Any]):
    """The rules, in the order in which they are tried."""

    rules = RuleShape(many=True)


class StoredRuleShape(serializers.Serializer[Any]):
    """A rule that was read or written, and what is odd about it."""

    rule = RuleShape()
    warnings = serializers.ListField(child=serializers.CharField())
