"""The serializers of approval requests: query, bodies and responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from approvals.comments import comments_of
from approvals.decisions import MAX_NOTES_CHARS
from approvals.models import ApprovalRequest, Decision, Requirement
from approvals.queries import changes_of
from approvals.review import MAX_BULK_DECISIONS, REASON_NEEDED, Answer
from approvals.reviewers import who_decides
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import BeginningField, OptionalTextField, StrictSerializer, SuccessField, UtcField
from jobs.api.serializers import RangeSerializer
from jobs.api.submission_serializers import DollarsField
from jobs.models import JobEvent


class ApprovalQuery(StrictSerializer):
    """The status to filter by, and the largest number of requests."""

    status = serializers.ChoiceField(choices=RequestStatus.choices, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)


class DecisionBody(StrictSerializer):
    """The reason of a decision; `notes` is another name for it."""

    reason = serializers.CharField(max_length=MAX_NOTES_CHARS, default="", allow_blank=True)
    notes = serializers.CharField(max_length=MAX_NOTES_CHARS, default="", allow_blank=True)

    bypass = serializers.BooleanField(default=False, help_text="Superusers: decide without the reviewers.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the reason as `reason`, also when it was sent as `notes`."""
        return attrs | {"reason": attrs["reason"] or attrs["notes"]}


class CommentBody(StrictSerializer):
    """A comment without a decision."""

    text = serializers.CharField(max_length=MAX_NOTES_CHARS)


class ApproveBody(DecisionBody):
    """An approval, and what the job may cost at most."""

    up_to_usd = DollarsField(
        default=None, allow_null=True, help_text="The job's cost limit: it is cancelled before it costs more."
    )


class RejectionBody(DecisionBody):
    """The reason of a rejection, which must not be empty."""

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
    """One rejection of several requests."""


class BulkAnswerSerializer(serializers.Serializer[Answer]):
    """The result for one of several requests."""

    id = serializers.IntegerField(source="request_id")
    success = serializers.BooleanField(source="won")
    status = OptionalTextField()
    code = OptionalTextField()
    detail = serializers.CharField()


class BulkSerializer(serializers.Serializer[Any]):
    """The results of several decisions."""

    success = serializers.BooleanField()
    decided = serializers.IntegerField()
    results = BulkAnswerSerializer(many=True)


class RequirementSerializer(serializers.Serializer[Requirement]):
    """A rule that holds the job, with the approvals that it needs and those that it has."""

    name = serializers.CharField(source="rule_name")
    reason = serializers.CharField()
    approvals_needed = serializers.IntegerField()
    approvals_given = serializers.IntegerField()
    decided_by = serializers.SerializerMethodField()
    self_approval = serializers.BooleanField()

    def get_decided_by(self, requirement: Requirement) -> str:
        return who_decides(requirement)


class DecisionSerializer(serializers.Serializer[Decision]):
    """One person's decision, and the rules for which it counts as an approval."""

    by = serializers.CharField(source="name")
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    reason = OptionalTextField()
    bypass = serializers.BooleanField()
    up_to_usd = serializers.FloatField(allow_null=True)
    via = serializers.CharField(source="source")
    at = UtcField()
    rules = serializers.SerializerMethodField()

    def get_rules(self, decision: Decision) -> list[str]:
        return [requirement.rule_name for requirement in decision.counted_for.all()]


class CommentSerializer(serializers.Serializer[JobEvent]):
    """One person's comment."""

    by = serializers.CharField(source="actor")
    text = serializers.CharField(source="reason")
    via = serializers.CharField(source="source")
    at = UtcField()


class ApprovalSerializer(serializers.Serializer[ApprovalRequest]):
    """An approval request.

    Every one of its rules counts. `rule` is the first of them, `approvals_needed` the largest number that one needs.
    """

    # `with_changes` adds `config_changes` and `comments`.
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
    estimated_cost_range = RangeSerializer(source="job.estimated_cost_range", allow_null=True)
    estimate_source = serializers.CharField(source="job.estimate_source", allow_null=True)
    hardware_profile = serializers.CharField(source="job.hardware_profile")
    up_to_usd = serializers.FloatField(allow_null=True, help_text="The approved limit of the job's cost.")
    raise_to_usd = serializers.FloatField(allow_null=True, help_text="The requested limit of a running job's cost.")
    config_digest = serializers.CharField()
    config_changes = serializers.DictField()
    rules = RequirementSerializer(source="requirements", many=True)
    approvals_needed = serializers.SerializerMethodField()
    decisions = DecisionSerializer(many=True)
    comments = CommentSerializer(many=True)
    bypassed = serializers.BooleanField()
    kept_from = serializers.IntegerField(source="kept_from_id", allow_null=True)

    def get_approvals_needed(self, request: ApprovalRequest) -> int:
        return max((item.approvals_needed for item in request.requirements.all()), default=0)


def with_changes(requests: Sequence[ApprovalRequest]) -> Sequence[ApprovalRequest]:
    """Return the requests, each with `config_changes` and `comments` as attributes, like a query's annotations."""
    changes, comments = changes_of(requests), comments_of(requests)
    for request in requests:
        vars(request).update(config_changes=changes[request.pk] or {}, comments=comments[request.pk])
    return requests


class ListedDecisionSerializer(DecisionSerializer):
    """One person's decision, with the beginning of its reason."""

    reason = BeginningField()


class ListedCommentSerializer(CommentSerializer):
    """One person's comment, with its beginning."""

    text = BeginningField(source="reason")


class ListedApprovalSerializer(ApprovalSerializer):
    """An approval request with the beginnings of its texts."""

    reason = BeginningField()
    review_notes = BeginningField()
    decisions = ListedDecisionSerializer(many=True)
    comments = ListedCommentSerializer(many=True)


class ApprovalListSerializer(serializers.Serializer[Any]):
    """Approval requests, newest first."""

    approvals = ListedApprovalSerializer(many=True)
    pending_count = serializers.IntegerField()


class ApprovalDetailSerializer(serializers.Serializer[Any]):
    """One approval request."""

    approval = ApprovalSerializer()


class DecidedSerializer(serializers.Serializer[ApprovalRequest]):
    """A request after a decision about it."""

    success = SuccessField()
    id = serializers.IntegerField()
    job_id = serializers.CharField()
    status = serializers.ChoiceField(choices=RequestStatus.choices)
