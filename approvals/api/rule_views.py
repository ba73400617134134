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
from approvals.models import ApprovalRule
from approvals.reviewers import lack_of_reviewers
from approvals.rulebook import find_rule, remove_rule, store_rule, visible_rules
from cloudtrain_site.api import asker
from jobs.access import AnyUser, organizations_of
from jobs.models import Organization


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
        remove_rule(find_rule(request.user, rule_id), user=asker(request))
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
        return store_rule(rule, values, user=asker(request))
    except exceptions.ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error


def _stored(rule: ApprovalRule, status: int = 200) -> Response:
    return Response({"rule": represent_rule(rule), "warnings": lack_of_reviewers(rule)}, status=status)
