"""The shapes of requests, checked; and those of answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from approvals.decisions import NOTES_LIMIT
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.statuses import RequestStatus
from cloudtrain_site.api import StrictSerializer
from jobs.models import Organization
from jobs.representation import as_utc


class ApprovalQuery(serializers.Serializer[Any]):
    """Which requests, and how many."""

    status = serializers.ChoiceField(choices=RequestStatus.choices, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)


class DecisionBody(StrictSerializer):
    """Why; `notes` is accepted as the same."""

    reason = serializers.CharField(max_length=NOTES_LIMIT, default="", allow_blank=True)
    notes = serializers.CharField(max_length=NOTES_LIMIT, default="", allow_blank=True)

    def words(self) -> str:
        """The reason, by whichever name it came."""
        return str(self.validated_data["reason"] or self.validated_data["notes"])


class RejectionBody(DecisionBody):
    """A refusal says why."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse an empty reason."""
        if not (attrs["reason"] or attrs["notes"]):
            raise serializers.ValidationError({"reason": "Say why: the requester will read it."})
        return attrs


class ApprovalShape(serializers.Serializer[Any]):
    """An approval request."""

    id = serializers.IntegerField()
    job_id = serializers.CharField()
    status = serializers.ChoiceField(choices=RequestStatus.choices)
    reason = serializers.CharField()
    rule = serializers.CharField()
    requested_by = serializers.CharField(allow_null=True)
    requested_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    reviewed_by = serializers.CharField(allow_null=True)
    reviewed_at = serializers.DateTimeField(allow_null=True)
    review_notes = serializers.CharField(allow_null=True)
    provider = serializers.CharField()
    config_name = serializers.CharField()
    estimated_cost_usd = serializers.FloatField(allow_null=True)
    hardware_profile = serializers.CharField()
    config_digest = serializers.CharField()
    config_changes = serializers.DictField()


class ApprovalListShape(serializers.Serializer[Any]):
    """Approval requests, newest first."""

    approvals = ApprovalShape(many=True)
    pending_count = serializers.IntegerField()


class ApprovalDetailShape(serializers.Serializer[Any]):
    """One approval request."""

    approval = ApprovalShape()


class DecidedShape(serializers.Serializer[Any]):
    """What was decided."""

    success = serializers.BooleanField()
    id = serializers.IntegerField()
    job_id = serializers.CharField()
    status = serializers.ChoiceField(choices=RequestStatus.choices)


class RuleSerializer(serializers.ModelSerializer[ApprovalRule]):
    """A rule: its type is its name, its condition what it sets."""

    type = serializers.CharField(source="name", read_only=True)
    condition = serializers.SerializerMethodField()
    organization = serializers.SlugRelatedField(
        slug_field="name", queryset=Organization.objects.all(), allow_null=True, required=False
    )

    class Meta:
        model = ApprovalRule
        fields = (
            "id",
            "type",
            "condition",
            "enabled",
            "priority",
            "name",
            "cost_exceeds",
            "first_job",
            "organization",
            "exempt_roles",
            "expires_after_hours",
        )

    def get_condition(self, rule: ApprovalRule) -> dict[str, Any]:
        """The criteria that the rule sets."""
        condition: dict[str, Any] = {}
        if rule.cost_exceeds is not None:
            condition["cost_exceeds"] = float(rule.cost_exceeds)
        if rule.first_job:
            condition["first_job"] = True
        return condition


class RuleListShape(serializers.Serializer[Any]):
    """The rules, in the order in which they are tried."""

    rules = RuleSerializer(many=True)


def represent_request(request: ApprovalRequest, changes: dict[str, Any]) -> dict[str, Any]:
    """The request as the contract shows it."""
    job = request.job
    return {
        "id": request.pk,
        "job_id": job.pk,
        "status": request.status,
        "reason": request.reason,
        "rule": request.rule_name,
        "requested_by": request.requested_by.get_username() if request.requested_by else None,
        "requested_at": as_utc(request.requested_at),
        "expires_at": as_utc(request.expires_at),
        "reviewed_by": request.reviewed_by or None,
        "reviewed_at": as_utc(request.reviewed_at),
        "review_notes": request.review_notes or None,
        "provider": job.provider,
        "config_name": job.config_name,
        "estimated_cost_usd": None if job.estimated_cost_usd is None else float(job.estimated_cost_usd),
        "hardware_profile": job.hardware_profile,
        "config_digest": request.config_digest,
        "config_changes": changes,
    }
