"""Submissions over HTTP. Each view parses, authorises, calls one verb and renders."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.intake import Forecast, Outcome, forecast, submit
from approvals.reviewers import who_decides
from approvals.rules.evaluation import Hold, joined_reasons
from approvals.submissions import read_submission, repeat_submission
from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import (
    OptionalTextField,
    StrictSerializer,
    SuccessField,
    checked,
    current_user,
    raises,
    rendered,
    takes,
)
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.limits.throttles import Previews
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.run_serializers import ChangesSerializer
from jobs.api.serializers import FindingSerializer, RangeSerializer
from jobs.api.submission_serializers import SubmitBody, SubmitQuery
from jobs.queries import find_own_job
from jobs.statuses import JobStatus
from jobs.validators import NAME_LIMIT
from queueing.budgets.outlook import Outlook

MAX_KEY_CHARS = 200
KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": MAX_KEY_CHARS},
    OpenApiParameter.HEADER,
    description="A second request with the same key within 24 hours returns the job of the first.",
)


class SubmittedSerializer(serializers.Serializer[Outcome]):
    """The result of a submission."""

    success = SuccessField()
    job_id = serializers.CharField(source="job.pk")
    status = serializers.CharField(source="job.status")
    idempotent_hit = serializers.BooleanField(source="is_replay")
    requires_approval = serializers.SerializerMethodField()
    approval_id = serializers.IntegerField(source="approval.pk", allow_null=True)
    queue_position = serializers.IntegerField(allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField())
    config_warnings = FindingSerializer(many=True, source="findings")

    def get_requires_approval(self, outcome: Outcome) -> bool:
        return outcome.approval is not None and outcome.approval.kept_from_id is None


class HoldSerializer(serializers.Serializer[Hold]):
    """A rule that would hold the job, and whose approvals it would need."""

    name = serializers.CharField(source="rule.name")
    reason = serializers.CharField()
    approvals_needed = serializers.IntegerField(source="rule.approvals_needed")
    decided_by = serializers.SerializerMethodField()

    def get_decided_by(self, hold: Hold) -> str:
        return who_decides(hold.rule)


class OutlookSerializer(serializers.Serializer[Outlook]):
    """Whether the strictest budget allows a job. `left_usd` is null if you may not see it."""

    sentence = serializers.CharField()
    left_usd = serializers.FloatField(source="left", allow_null=True)
    would_wait = serializers.BooleanField()


class ForecastSerializer(serializers.Serializer[Forecast]):
    """The forecast of a dry run. Cost and time are the upper ends of their ranges: rules use these.

    A job that a rule would hold has no expected wait.
    """

    success = SuccessField()
    dry_run = serializers.BooleanField(read_only=True, default=True)
    estimated_cost_usd = serializers.FloatField(source="estimate.highest_cost", allow_null=True)
    estimated_seconds = serializers.FloatField(source="estimate.seconds.high", allow_null=True)
    estimated_cost_range = RangeSerializer(source="estimate.cost", allow_null=True)
    estimated_seconds_range = RangeSerializer(source="estimate.seconds", allow_null=True)
    estimate_source = OptionalTextField(source="estimate.source")
    estimate_doubt = OptionalTextField(source="estimate.doubt")
    requires_approval = serializers.SerializerMethodField()
    rule = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField()
    rules = HoldSerializer(many=True, source="holds")
    queue_position = serializers.IntegerField(source="start.position", allow_null=True)
    estimated_wait_seconds = serializers.SerializerMethodField()
    waiting_reason = serializers.SerializerMethodField()
    budget = OutlookSerializer(source="start.budget", allow_null=True)
    refusal = OptionalTextField(help_text="The limit that would refuse the job now. It is also among the warnings.")
    warnings = serializers.ListField(child=serializers.CharField())
    config_warnings = FindingSerializer(many=True, source="findings")
    changes = ChangesSerializer(allow_null=True)

    def get_requires_approval(self, result: Forecast) -> bool:
        return bool(result.holds)

    def get_rule(self, result: Forecast) -> str | None:
        return result.holds[0].rule.name if result.holds else None

    def get_reason(self, result: Forecast) -> str | None:
        return joined_reasons(result.holds) or None

    def get_estimated_wait_seconds(self, result: Forecast) -> float | None:
        return None if result.holds else result.start.wait

    def get_waiting_reason(self, result: Forecast) -> str | None:
        return None if result.holds else result.start.reason


REPLAYED_OR_FORECAST = PolymorphicProxySerializer(
    "ReplayedOrForecast", [SubmittedSerializer, ForecastSerializer], resource_type_field_name=None
)


class SubmissionViewSet(StrictViewSet):
    """Submissions at the jobs' addresses. They are here because rules and queue take part in them."""

    lookup_url_kwarg = "job_id"

    @extend_schema(
        parameters=[KEY_PARAMETER],
        request=SubmitBody,
        responses={201: SubmittedSerializer, 200: REPLAYED_OR_FORECAST},
    )
    @raises(Conflict, LimitReachedError)
    @action(methods=["post"], detail=False)
    @needs(Scope.SUBMIT)
    @takes(SubmitQuery)
    def submit(self, request: Request) -> Response:
        """Submit a job.

        Returns 200 for a dry run and for a repeated idempotency key.
        """
        provider = self.query.get("provider", "")
        body = checked(SubmitBody, request.data)
        if body["dry_run"]:
            Previews.count(request.user)
        key = _idempotency_key(request)
        submission_request = read_submission(
            current_user(request), provider, body, source=current_source(), idempotency_key=key
        )
        if body["dry_run"]:
            return rendered(ForecastSerializer, forecast(submission_request))
        return _outcome_response(submit(submission_request))

    @extend_schema(
        parameters=[KEY_PARAMETER], request=None, responses={201: SubmittedSerializer, 200: SubmittedSerializer}
    )
    @raises(Conflict, LimitReachedError)
    @action(methods=["post"], detail=True)
    @needs(Scope.SUBMIT)
    def retry(self, request: Request, job_id: str) -> Response:
        """Retry a failed or cancelled job."""
        job = find_own_job(request.user, job_id)
        if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise Conflict(f"The job is {job.status}: only failed and cancelled jobs can be retried.")
        key = _idempotency_key(request)
        return _outcome_response(
            submit(repeat_submission(current_user(request), job, source=current_source(), idempotency_key=key))
        )


class QueueSubmissionBody(StrictSerializer):
    """A stored config to be trained on this machine."""

    config_name = serializers.CharField(max_length=NAME_LIMIT)


class QueueSubmissionViewSet(StrictViewSet):
    """Submissions at the queue's address, as SimpleTuner's command line makes them."""

    @extend_schema(
        parameters=[KEY_PARAMETER],
        request=QueueSubmissionBody,
        responses={201: SubmittedSerializer, 200: SubmittedSerializer},
    )
    @raises(Conflict, LimitReachedError)
    @action(methods=["post"], detail=False)
    @needs(Scope.SUBMIT)
    def submit(self, request: Request) -> Response:
        """Submit a stored config to this machine."""
        name = checked(QueueSubmissionBody, request.data)["config_name"]
        body = checked(SubmitBody, {"config_name_to_load": name})
        key = _idempotency_key(request)
        return _outcome_response(
            submit(read_submission(current_user(request), "local", body, source=current_source(), idempotency_key=key))
        )


def _idempotency_key(request: Request) -> str:
    """Return the `Idempotency-Key` header. Raises ValidationError for one of more than MAX_KEY_CHARS."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > MAX_KEY_CHARS:
        raise ValidationError({"idempotency_key": f"A key may have at most {MAX_KEY_CHARS} characters."})
    return key


def _outcome_response(outcome: Outcome) -> Response:
    return rendered(SubmittedSerializer, outcome, status=200 if outcome.is_replay else 201, kept=True)
