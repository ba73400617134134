"""The rules over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from typing import Any

from django.core import exceptions
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals.api.rule_serializers import RuleBody, RuleListShape, StoredRuleShape, represent_rule
from approvals.intake import SubmissionRequest, estimate
from approvals.models import ApprovalRule
from approvals.reviewers import lack_of_reviewers
from approvals.rules.backtest import BackTest, back_test
from approvals.rules.editing import find_rule, remove_rule, store_rule, visible_rules
from approvals.rules.evaluation import judge
from approvals.rules.facts import facts_about, rules_in_force
from approvals.submissions import read_submission
from cloudtrain_site.api import StrictSerializer, current_user
from cloudtrain_site.states import Source
from jobs.api.serializers import SubmitBody, SubmitQuery
from jobs.models import Organization
from jobs.permissions import AnyUser, organizations_of, visible_jobs


class RuleList(APIView):
    """The rules."""

    @extend_schema(operation_id="rules_list", responses=RuleListShape)
    def get(self, request: Request) -> Response:
        return Response({"rules": [represent_rule(rule) for rule in visible_rules(request.user)]})

    @extend_schema(request=RuleBody, responses={201: StoredRuleShape})
    def post(self, request: Request) -> Response:
        values = read_rule(request)
        if "name" not in values:
            raise serializers.ValidationError({"type": "Give the rule a name."})
        return _stored(_store(ApprovalRule(), values, request), status=201)


class RuleDetail(APIView):
    """One rule."""

    @extend_schema(operation_id="rules_retrieve", responses=StoredRuleShape)
    def get(self, request: Request, rule_id: int) -> Response:
        return _stored(find_rule(request.user, rule_id))

    @extend_schema(request=RuleBody, responses=StoredRuleShape)
    def patch(self, request: Request, rule_id: int) -> Response:
        rule = find_rule(request.user, rule_id)
        return _stored(_store(rule, read_rule(request), request))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, rule_id: int) -> Response:
        remove_rule(find_rule(request.user, rule_id), user=current_user(request))
        return Response(status=204)


def read_rule(request: Request) -> dict[str, Any]:
    """The columns that the body gives."""
    body = RuleBody(data=request.data)
    body.is_valid(raise_exception=True)
    return with_organization(request.user, dict(body.validated_data))


def with_organization(user: AnyUser, values: dict[str, Any]) -> dict[str, Any]:
    """The values with the organization found by its name. One of somebody else's is told as one that there is not."""
    if "organization" in values:
        values["organization"] = _find_organization(user, values["organization"])
    return values


def _find_organization(user: AnyUser, name: str | None) -> Organization | None:
    if not name:
        return None
    found = organizations_of(user).filter(name=name).first()
    if found is None:
        raise serializers.ValidationError({"organization": f"You belong to no organization called {name!r}."})
    return found


def _store(rule: ApprovalRule, values: dict[str, Any], request: Request) -> ApprovalRule:
    try:
        return store_rule(rule, values, user=current_user(request))
    except exceptions.ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error


def _stored(rule: ApprovalRule, status: int = 200) -> Response:
    return Response({"rule": represent_rule(rule), "warnings": lack_of_reviewers(rule)}, status=status)


class PreviewBody(StrictSerializer):
    """A submission, to learn which rule it would hit; a draft of a rule, to learn what it would have held."""

    provider = serializers.CharField(max_length=40, required=False)
    submission = SubmitBody(required=False)
    rule = RuleBody(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At least one of the two."""
        if not {"submission", "rule"} & set(attrs):
            raise serializers.ValidationError("Give a submission, a rule, or both.")
        return attrs


class RuleVerdictShape(serializers.Serializer[Any]):
    """What one rule makes of the submission, and why."""

    id = serializers.IntegerField()
    type = serializers.CharField()
    holds = serializers.BooleanField()
    reason = serializers.CharField()


class SubmissionPreviewShape(serializers.Serializer[Any]):
    """The rule that the submission would hit, and what each of them says."""

    requires_approval = serializers.BooleanField()
    rule = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    rules = RuleVerdictShape(many=True)


class HeldJobShape(serializers.Serializer[Any]):
    """A job that the draft would have held."""

    job_id = serializers.CharField()
    config_name = serializers.CharField()
    submitted_by = serializers.CharField()
    cost_usd = serializers.FloatField()
    reason = serializers.CharField()


class BackTestShape(serializers.Serializer[Any]):
    """What the draft would have held."""

    days = serializers.IntegerField()
    looked_at = serializers.IntegerField()
    would_have_held = serializers.IntegerField()
    cost_usd = serializers.FloatField()
    jobs = HeldJobShape(many=True)


class PreviewShape(serializers.Serializer[Any]):
    """The answer to each question that was asked."""

    submission = SubmissionPreviewShape(required=False)
    rule = BackTestShape(required=False)


class RulePreview(APIView):
    """Which rule a submission would hit, and what a draft rule would have held of the last 30 days' jobs."""

    @extend_schema(request=PreviewBody, responses=PreviewShape)
    def post(self, request: Request) -> Response:
        body = PreviewBody(data=request.data)
        body.is_valid(raise_exception=True)
        said, answer = body.validated_data, {}
        if "submission" in said:
            answer["submission"] = _of_submission(request, said)
        if "rule" in said:
            answer["rule"] = _of_rule(request, dict(said["rule"]))
        return Response(answer)


def _of_submission(request: Request, said: dict[str, Any]) -> dict[str, Any]:
    query = SubmitQuery(data={"provider": said["provider"]} if "provider" in said else {})
    query.is_valid(raise_exception=True)
    provider = query.validated_data["provider"]
    submission_request = read_submission(
        current_user(request), provider, said["submission"], source=Source.API, idempotency_key=""
    )
    verdicts = _verdicts(submission_request)
    first = next((verdict for verdict in verdicts if verdict["holds"]), None)
    return {
        "requires_approval": first is not None,
        "rule": first["type"] if first else None,
        "reason": first["reason"] if first else None,
        "rules": verdicts,
    }


def _verdicts(submission_request: SubmissionRequest) -> list[dict[str, Any]]:
    """What each rule in force says, in their order."""
    facts = facts_about(
        submission_request.user,
        submission_request.organization,
        submission_request.submission,
        estimate(submission_request),
    )
    judged = [(rule, judge(rule, facts)) for rule in rules_in_force(submission_request.organization)]
    return [
        {"id": rule.pk, "type": rule.name, "holds": verdict.holds, "reason": verdict.words} for rule, verdict in judged
    ]


def _of_rule(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    draft = ApprovalRule(**{"name": "draft", **with_organization(request.user, values)})
    try:
        draft.clean()
    except exceptions.ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error
    return _represent(back_test(draft, visible_jobs(request.user)))


def _represent(told: BackTest) -> dict[str, Any]:
    return {
        "days": told.days,
        "looked_at": told.looked_at,
        "would_have_held": len(told.held),
        "cost_usd": float(told.cost),
        "jobs": [
            {
                "job_id": job.job_id,
                "config_name": job.config_name,
                "submitted_by": job.submitted_by,
                "cost_usd": float(job.cost),
                "reason": job.reason,
            }
            for job in told.shown
        ],
    }
