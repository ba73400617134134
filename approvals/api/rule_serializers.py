"""The serializers of rules: request bodies and responses."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from approvals.models import MAX_EXPIRY_HOURS, MAX_GLOB_CHARS, ApprovalRule
from approvals.reviewers import who_decides
from approvals.rules.backtest import BackTest, HeldJob
from cloudtrain_site.api import StrictSerializer
from cloudtrain_site.names import readable_name
from jobs.api.serializers import ProviderField
from jobs.api.submission_serializers import DollarsField, SubmitBody
from jobs.roles import Role
from jobs.statuses import FuseAction


class ConditionBody(StrictSerializer):
    """The criteria of a rule. All that are set must be met; null, "" and false mean: not set."""

    cost_exceeds = serializers.DecimalField(
        max_digits=12, decimal_places=4, min_value=0, allow_null=True, required=False, coerce_to_string=False
    )
    first_job = serializers.BooleanField(required=False)
    # A rule for a name that no provider has would hold nothing.
    provider = ProviderField(allow_blank=True, required=False)
    hardware = serializers.CharField(max_length=MAX_GLOB_CHARS, allow_blank=True, required=False)
    config_name = serializers.CharField(max_length=MAX_GLOB_CHARS, allow_blank=True, required=False)
    role_at_most = serializers.ChoiceField(choices=Role.choices, allow_blank=True, required=False)
    jobs_in_day_exceed = serializers.IntegerField(min_value=0, max_value=10**9, allow_null=True, required=False)


#: The values of the criteria that a condition leaves out.
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
    """A rule to store. A change keeps the fields that it leaves out, but replaces the whole condition."""

    type = serializers.CharField(max_length=100, required=False, validators=[readable_name])
    name = serializers.CharField(max_length=100, required=False, validators=[readable_name])
    condition = ConditionBody(required=False)
    enabled = serializers.BooleanField(required=False)
    priority = serializers.IntegerField(min_value=-(2**31), max_value=2**31 - 1, required=False)
    organization = serializers.CharField(max_length=100, allow_null=True, allow_blank=True, required=False)
    exempt_roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), required=False)
    reviewer_role = serializers.ChoiceField(
        choices=[choice for choice in Role.choices if choice[0] != Role.VIEWER], required=False
    )
    reviewer_group = serializers.CharField(max_length=150, allow_null=True, allow_blank=True, required=False)
    approvals_needed = serializers.IntegerField(min_value=1, max_value=10, required=False)
    self_approval = serializers.BooleanField(required=False)
    expires_after_hours = serializers.IntegerField(min_value=1, max_value=MAX_EXPIRY_HOURS, required=False)
    max_cost_usd = DollarsField(
        required=False, allow_null=True, help_text="The cost limit of each job that the rule holds."
    )
    fuse_action = serializers.ChoiceField(FuseAction.choices, required=False, allow_blank=True)
    fuse_grace_percent = serializers.IntegerField(min_value=0, max_value=100, required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the values by column; `type` is another word for the name."""
        name = attrs.pop("type", None)
        if name is not None:
            attrs.setdefault("name", name)
        condition = attrs.pop("condition", None)
        return attrs if condition is None else {**attrs, **NO_CONDITION, **condition}


class RuleSerializer(serializers.Serializer[ApprovalRule]):
    """A rule. Its type is its name, its condition the criteria that it sets."""

    id = serializers.IntegerField()
    type = serializers.CharField(source="name")
    name = serializers.CharField()
    condition = serializers.SerializerMethodField()
    enabled = serializers.BooleanField()
    priority = serializers.IntegerField()
    organization = serializers.CharField(source="organization.name", allow_null=True)
    exempt_roles = serializers.ListField(child=serializers.CharField())
    reviewer_role = serializers.CharField()
    reviewer_group = serializers.CharField(source="reviewer_group.name", allow_null=True)
    approvals_needed = serializers.IntegerField()
    self_approval = serializers.BooleanField()
    expires_after_hours = serializers.IntegerField()
    max_cost_usd = serializers.FloatField(allow_null=True)
    fuse_action = serializers.CharField()
    fuse_grace_percent = serializers.IntegerField(allow_null=True)

    @extend_schema_field(ConditionBody)
    def get_condition(self, rule: ApprovalRule) -> dict[str, Any]:
        condition = rule.condition()
        if "cost_exceeds" in condition:
            condition["cost_exceeds"] = float(condition["cost_exceeds"])
        return condition


class RuleListSerializer(serializers.Serializer[Any]):
    """The rules, in the order of their priorities."""

    rules = RuleSerializer(many=True)


class StoredRuleSerializer(serializers.Serializer[Any]):
    """A rule that was read or written, with warnings about it."""

    rule = RuleSerializer()
    warnings = serializers.ListField(child=serializers.CharField())


class PreviewBody(StrictSerializer):
    """A submission, to learn which rule would hold it; a draft of a rule, to learn what it would have held; or both."""

    provider = serializers.CharField(max_length=40, required=False)
    submission = SubmitBody(required=False)
    rule = RuleBody(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a body with neither of the two."""
        if not {"submission", "rule"} & set(attrs):
            raise serializers.ValidationError("Send a submission, a rule, or both.")
        return attrs


class JudgementSerializer(serializers.Serializer[Any]):
    """The judgement of one rule on the submission, its reason, and whose approvals the rule needs."""

    id = serializers.IntegerField(source="rule.pk")
    type = serializers.CharField(source="rule.name")
    holds = serializers.BooleanField(source="judgement.holds")
    reason = serializers.CharField(source="judgement.reason")
    approvals_needed = serializers.IntegerField(source="rule.approvals_needed")
    max_cost_usd = serializers.FloatField(source="rule.max_cost_usd", allow_null=True)
    decided_by = serializers.SerializerMethodField()

    def get_decided_by(self, judged: dict[str, Any]) -> str:
        return who_decides(judged["rule"])


class SubmissionPreviewSerializer(serializers.Serializer[Any]):
    """The judgements of all rules. Every rule that holds the job counts: `rule` is the first of them."""

    requires_approval = serializers.BooleanField()
    rule = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    rules = JudgementSerializer(many=True)


class HeldJobSerializer(serializers.Serializer[HeldJob]):
    """A job that the draft would have held, and the rules in force that would have held it too."""

    job_id = serializers.CharField()
    config_name = serializers.CharField()
    submitted_by = serializers.CharField()
    cost_usd = serializers.FloatField(source="cost", allow_null=True)
    reason = serializers.CharField()
    other_rules = serializers.ListField(child=serializers.CharField(), source="others")


class BackTestSerializer(serializers.Serializer[BackTest]):
    """The jobs that the draft would have held, whatever other rules say: every rule that matches counts."""

    days = serializers.IntegerField()
    looked_at = serializers.IntegerField()
    would_have_held = serializers.SerializerMethodField()
    cost_usd = serializers.FloatField(source="cost", help_text="The known part of the cost.")
    jobs_beyond_limit = serializers.IntegerField(
        source="beyond_limit", help_text="Those that cost more than the draft's max_cost_usd."
    )
    jobs_of_unknown_cost = serializers.IntegerField(source="of_unknown_cost")
    jobs = HeldJobSerializer(source="shown", many=True)

    def get_would_have_held(self, test: BackTest) -> int:
        return len(test.held)


class PreviewSerializer(serializers.Serializer[Any]):
    """The result for the submission, for the rule, or for both.

    `other_rules` are the rules in force that can hold a job together with the draft: all of them count.
    """

    submission = SubmissionPreviewSerializer(required=False)
    rule = BackTestSerializer(required=False)
    other_rules = RuleSerializer(many=True, required=False)
