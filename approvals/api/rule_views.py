"""The rules over HTTP. Each view parses, authorises, calls one verb and renders."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core import exceptions
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.api.rule_serializers import (
    PreviewBody,
    PreviewSerializer,
    RuleBody,
    RuleListSerializer,
    StoredRuleSerializer,
)
from approvals.intake import SubmissionRequest, estimate
from approvals.models import ApprovalRule
from approvals.reviewers import rule_warnings
from approvals.rules.backtest import back_test
from approvals.rules.editing import check_group, find_rule, remove_rule, rules_beside, store_rule, visible_rules
from approvals.rules.evaluation import Hold, joined_reasons, judge
from approvals.rules.facts import facts_about, rules_in_force
from approvals.submissions import read_submission
from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, rendered
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.limits.throttles import Previews
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.submission_serializers import SubmitQuery
from jobs.models import Organization
from jobs.permissions import AnyUser, organizations_of, visible_jobs


class RuleViewSet(StrictViewSet):
    lookup_url_kwarg = "rule_id"
    lookup_value_converter = "int"

    @extend_schema(operation_id="rules_list", responses=RuleListSerializer)
    def list(self, request: Request) -> Response:
        """List the rules."""
        return rendered(RuleListSerializer, {"rules": visible_rules(request.user)})

    @extend_schema(request=RuleBody, responses={201: StoredRuleSerializer})
    @needs(Scope.ADMINISTER)
    def create(self, request: Request) -> Response:
        """Create a rule."""
        values = _rule_values(request)
        if "name" not in values:
            raise serializers.ValidationError({"type": "Give the rule a name."})
        return _rule_response(_save_rule(ApprovalRule(), values, request), status=201)

    @extend_schema(operation_id="rules_retrieve", responses=StoredRuleSerializer)
    def retrieve(self, request: Request, rule_id: int) -> Response:
        """Show a rule."""
        return _rule_response(find_rule(request.user, rule_id))

    @extend_schema(request=RuleBody, responses=StoredRuleSerializer)
    @needs(Scope.ADMINISTER)
    def partial_update(self, request: Request, rule_id: int) -> Response:
        """Change a rule."""
        rule = find_rule(request.user, rule_id)
        return _rule_response(_save_rule(rule, _rule_values(request), request))

    @extend_schema(responses={204: None})
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, rule_id: int) -> Response:
        """Remove a rule."""
        remove_rule(find_rule(request.user, rule_id), user=current_user(request))
        return Response(status=204)

    @extend_schema(request=PreviewBody, responses=PreviewSerializer)
    @action(methods=["post"], detail=False, throttle_classes=[Previews])
    @needs(Scope.READ)
    def preview(self, request: Request) -> Response:
        """Preview what rules would hold.

        Tries the rules in force on a submission, a draft of a rule on the jobs of the last 30 days, or both.
        """
        body = checked(PreviewBody, request.data)
        answer: dict[str, Any] = {}
        if "submission" in body:
            answer["submission"] = _preview_submission(request, body)
        if "rule" in body:
            draft = _draft(request, dict(body["rule"]))
            answer["rule"] = back_test(draft, visible_jobs(request.user))
            answer["other_rules"] = rules_beside(draft, request.user)
        return rendered(PreviewSerializer, answer)


def _rule_values(request: Request) -> dict[str, Any]:
    """Return the values of the checked body, by column. Raises ValidationError."""
    return _with_rows(request.user, dict(checked(RuleBody, request.data)))


def _with_rows(user: AnyUser, values: dict[str, Any]) -> dict[str, Any]:
    """Replace the names of organization and group by their rows. An organization that the user isn't in is unknown."""
    if "organization" in values:
        values["organization"] = _find_organization(user, values["organization"])
    if "reviewer_group" in values:
        values["reviewer_group"] = _find_group(values["reviewer_group"])
    return values


def _find_group(name: str | None) -> Group | None:
    """Return the group of that name. One that isn't there is refused by `check_group`, like one of another team."""
    return (Group.objects.filter(name=name).first() or Group(name=name)) if name else None


def _find_organization(user: AnyUser, name: str | None) -> Organization | None:
    if not name:
        return None
    organization = organizations_of(user).filter(name=name).first()
    if organization is None:
        raise serializers.ValidationError({"organization": f"You belong to no organization called “{name}”."})
    return organization


def _save_rule(rule: ApprovalRule, values: dict[str, Any], request: Request) -> ApprovalRule:
    try:
        return store_rule(rule, values, user=current_user(request))
    except exceptions.ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error


def _rule_response(rule: ApprovalRule, status: int = 200) -> Response:
    return rendered(StoredRuleSerializer, {"rule": rule, "warnings": rule_warnings(rule)}, status=status)


def _preview_submission(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """Return the judgements of the rules in force on a submission, in their order, and what holds it."""
    provider = checked(SubmitQuery, {"provider": body["provider"]} if "provider" in body else {}).get("provider", "")
    submission = body["submission"]
    submission_request = read_submission(
        current_user(request), provider, submission, source=current_source(), idempotency_key=""
    )
    judgements = _judgements(submission_request)
    holds = [Hold(judged["rule"], judged["judgement"].reason) for judged in judgements if judged["judgement"].holds]
    first, reason = holds[0].rule.name if holds else None, joined_reasons(holds) or None
    return {"requires_approval": bool(holds), "rule": first, "reason": reason, "rules": judgements}


def _judgements(submission_request: SubmissionRequest) -> list[dict[str, Any]]:
    user, organization = submission_request.user, submission_request.organization
    expected, rules = estimate(submission_request), rules_in_force(organization)
    facts = facts_about(user, organization, submission_request.submission, expected, rules=rules)
    return [{"rule": rule, "judgement": judge(rule, facts)} for rule in rules]


def _draft(request: Request, values: dict[str, Any]) -> ApprovalRule:
    """Return a draft of a rule, which isn't stored. Raises ValidationError."""
    draft = ApprovalRule(**{"name": "draft", **_with_rows(request.user, values)})
    try:
        check_group(request.user, ApprovalRule(), draft.reviewer_group, draft.organization)
        draft.clean()
    except exceptions.ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error
    return draft
