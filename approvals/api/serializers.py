"""The shapes of requests, checked; and those of answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from approvals.deciding import BULK_LIMIT, SAY_WHY, Answer
from approvals.decisions import NOTES_LIMIT
from approvals.models import ApprovalRequest, Decision
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import StrictSerializer
from jobs.api.serializers import as_utc


class ApprovalQuery(serializers.Serializer[Any]):
    """Which requests, and how many."""

    status = serializers.ChoiceField(choices=RequestStatus.choices, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)


class DecisionBody(StrictSerializer):
    """Why; `notes` is accepted as the same."""

    reason = serializers.CharField(max_length=NOTES_LIMIT, default="", allow_blank=True)
    notes = serializers.CharField(max_length=NOTES_LIMIT, default="", allow_blank=True)

    bypass = serializers.BooleanField(default=False, help_text="Superusers: decide past the reviewers.")

    def words(self) -> str:
        """The reason, by whichever name it came."""
        return str(self.validated_data["reason"] or self.validated_data["notes"])


class RejectionBody(DecisionBody):
    """A refusal says why."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse an empty reason."""
        if not (attrs["reason"].strip() or attrs["notes"].strip()):
            raise serializers.ValidationError({"reason": SAY_WHY})
        return attrs


class BulkBody(DecisionBody):
    """One decision about several requests."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), min_length=1, max_length=BULK_LIMIT
    )


class BulkRejectionBody(BulkBody, RejectionBody):
    """One refusal of several."""


class AnswerShape(serializers.Serializer[Any]):
    """What became of one of them."""

    id = serializers.IntegerField()
    success = serializers.BooleanField()
    status = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)
    detail = serializers.CharField()


class BulkShape(serializers.Serializer[Any]):
    """What became of each."""

    success = serializers.BooleanField()
    decided = serializers.IntegerField()
    results = AnswerShape(many=True)


def represent_answer(answer: Answer) -> dict[str, Any]:
    """One line of a bulk answer."""
    return {
        "id": answer.request_id,
        "success": answer.won,
        "status": answer.status or None,
        "code": answer.code or None,
        "detail": answer.words,
    }


class DecisionShape(serializers.Serializer[Any]):
    """What one person said."""

    by = serializers.CharField()
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    reason = serializers.CharField(allow_null=True)
    bypass = serializers.BooleanField()
    via = serializers.CharField()
    at = serializers.DateTimeField()


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
    approvals_needed = serializers.IntegerField()
    decisions = DecisionShape(many=True)
    bypassed = serializers.BooleanField()
    kept_from = serializers.IntegerField(allow_null=True)


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
        "approvals_needed": request.approvals_needed,
        "decisions": [represent_decision(decision) for decision in request.decisions.all()],
        "bypassed": request.bypassed,
        "kept_from": request.kept_from_id,
    }


def represent_decision(decision: Decision) -> dict[str, Any]:
    """What one person said."""
    return {
        "by": decision.name,
        "verdict": decision.verdict,
        "reason": decision.reason or None,
        "bypass": decision.bypass,
        "via": decision.source,
        "at": as_utc(decision.at),
    }
