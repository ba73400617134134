"""What comes in about approval requests, checked; and how they go out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from approvals.deciding import MAX_BULK_DECISIONS, REASON_NEEDED, Answer
from approvals.decisions import MAX_NOTES_CHARS
from approvals.models import ApprovalRequest, Decision
from approvals.queries import changes_of
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import OptionalTextField, StrictSerializer, SuccessField, UtcField


class ApprovalQuery(serializers.Serializer[Any]):
    """Which requests, and how many."""

    status = serializers.ChoiceField(choices=RequestStatus.choices, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)


class DecisionBody(StrictSerializer):
    """Why; `notes` is accepted as the same."""

    reason = serializers.CharField(max_length=MAX_NOTES_CHARS, default="", allow_blank=True)
    notes = serializers.CharField(max_length=MAX_NOTES_CHARS, default="", allow_blank=True)

    bypass = serializers.BooleanField(default=False, help_text="Superusers: decide past the reviewers.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The reason as `reason`, by whichever name it came."""
        return attrs | {"reason": attrs["reason"] or attrs["notes"]}


class RejectionBody(DecisionBody):
    """A refusal says why."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse an empty reason."""
        attrs = super().validate(attrs)
        if not attrs["reason"].strip():
            raise serializers.ValidationError({"reason": REASON_NEEDED})
        return attrs


class BulkBody(DecisionBody):
    """One decision about several requests."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), min_length=1, max_length=MAX_BULK_DECISIONS
    )


class BulkRejectionBody(BulkBody, RejectionBody):
    """One refusal of several."""


class BulkAnswerSerializer(serializers.Serializer[Answer]):
    """What became of one of them."""

    id = serializers.IntegerField(source="request_id")
    success = serializers.BooleanField(source="won")
    status = OptionalTextField()
    code = OptionalTextField()
    detail = serializers.CharField()


class BulkSerializer(serializers.Serializer[Any]):
    """What became of each."""

    success = serializers.BooleanField()
    decided = serializers.IntegerField()
    results = BulkAnswerSerializer(many=True)


class DecisionSerializer(serializers.Serializer[Decision]):
    """What one person said."""

    by = serializers.CharField(source="name")
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    reason = OptionalTextField()
    bypass = serializers.BooleanField()
    via = serializers.CharField(source="source")
    at = UtcField()


class ApprovalSerializer(serializers.Serializer[ApprovalRequest]):
    """An approval request, once `with_changes` has put beside its columns what is new in the config."""

    id = serializers.IntegerField()
    job_id = serializers.CharField()
    status = serializers.ChoiceField(choices=RequestStatus.choices)
    reason = serializers.CharField()
    rule = serializers.CharField(source="rule_name")
    requested_by = serializers.CharField(source="requested_by.username", allow_null=True)
    requested_at = UtcField()
    expires_at = UtcField()
    reviewed_by = OptionalTextField()
    reviewed_at = UtcField(allow_null=True)
    review_notes = OptionalTextField()
    provider = serializers.CharField(source="job.provider")
    config_name = serializers.CharField(source="job.config_name")
    estimated_cost_usd = serializers.FloatField(source="job.estimated_cost_usd", allow_null=True)
    hardware_profile = serializers.CharField(source="job.hardware_profile")
    config_digest = serializers.CharField()
    config_changes = serializers.DictField()
    approvals_needed = serializers.IntegerField()
    decisions = DecisionSerializer(many=True)
    bypassed = serializers.BooleanField()
    kept_from = serializers.IntegerField(source="kept_from_id", allow_null=True)


def with_changes(requests: Sequence[ApprovalRequest]) -> Sequence[ApprovalRequest]:
    """The requests with what differs from the last approved config, as an attribute, like a query's annotation."""
    changes = changes_of(requests)
    for request in requests:
        vars(request).update(config_changes=changes[request.pk])
    return requests


class ApprovalListSerializer(serializers.Serializer[Any]):
    """Approval requests, newest first."""

    approvals = ApprovalSerializer(many=True)
    pending_count = serializers.IntegerField()


class ApprovalDetailSerializer(serializers.Serializer[Any]):
    """One approval request."""

    approval = ApprovalSerializer()


class DecidedSerializer(serializers.Serializer[ApprovalRequest]):
    """What was decided."""

    success = SuccessField()
    id = serializers.IntegerField()
    job_id = serializers.CharField()
    status = serializers.ChoiceField(choices=RequestStatus.choices)
