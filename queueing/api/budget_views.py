"""Budgets over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.preferences import time_zones
from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, SuccessField, UtcField, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.models import Organization
from jobs.permissions import is_superuser, organizations_of, role_in
from jobs.roles import Role
from queueing.api.serializers import AmountField
from queueing.budgets import editing
from queueing.budgets.sums import BudgetState, states
from queueing.models import Action, Budget, Period, default_thresholds
from queueing.models import Scope as BudgetScope

#: What a body of each scope names.
NEEDED: Mapping[BudgetScope, tuple[str, ...]] = {
    BudgetScope.SITE: (),
    BudgetScope.ORGANIZATION: ("organization",),
    BudgetScope.USER: ("organization", "user"),
}


class ThresholdsField(serializers.ListField):
    def __init__(self, **options: Any) -> None:
        percent = serializers.IntegerField(min_value=1, max_value=editing.MAX_PERCENT)
        super().__init__(child=percent, max_length=editing.MAX_THRESHOLDS, allow_empty=True, **options)

    def to_internal_value(self, data: Any) -> list[int]:
        """Return the percents once each, the lowest first."""
        return editing.checked_thresholds(super().to_internal_value(data))


class ChangeBudgetBody(StrictSerializer):
    """The fields to change. `version` is the one that you read; `confirm` accepts what a 409 warned of."""

    amount_usd = AmountField(required=False)
    thresholds = ThresholdsField(required=False)
    action = serializers.ChoiceField(choices=Action.choices, required=False)
    time_zone = serializers.CharField(max_length=60, required=False)
    version = serializers.IntegerField(min_value=1, required=False)
    confirm = serializers.BooleanField(default=False)

    def validate_time_zone(self, name: str) -> str:
        """Refuse a zone that does not exist."""
        if name not in time_zones():
            raise ValidationError(f"There is no time zone “{name}”. One is Europe/Berlin, for example.")
        return name


class BudgetBody(ChangeBudgetBody):
    """A new budget: of one person in an organization, of an organization, or of the site."""

    scope = serializers.ChoiceField(choices=BudgetScope.choices)
    organization = serializers.CharField(max_length=100, default="")
    user = serializers.CharField(max_length=150, default="")
    amount_usd = AmountField()
    period = serializers.ChoiceField(choices=Period.choices, default=Period.MONTH)
    thresholds = ThresholdsField(default=default_thresholds)
    action = serializers.ChoiceField(choices=Action.choices, default=Action.HOLD)
    version = None  # type: ignore[assignment]
    confirm = None  # type: ignore[assignment]


class BudgetSerializer(serializers.Serializer[BudgetState]):
    """A budget, and what is spent and reserved of it in the current period."""

    id = serializers.IntegerField(source="budget.pk")
    scope = serializers.ChoiceField(choices=BudgetScope.choices, source="budget.scope")
    organization = serializers.CharField(source="budget.organization.name", allow_null=True, default=None)
    user = serializers.CharField(source="budget.user.username", allow_null=True, default=None)
    amount_usd = serializers.FloatField(source="budget.amount")
    period = serializers.ChoiceField(choices=Period.choices, source="budget.period")
    time_zone = serializers.CharField(source="budget.time_zone")
    thresholds = serializers.ListField(child=serializers.IntegerField(), source="budget.thresholds")
    action = serializers.ChoiceField(choices=Action.choices, source="budget.action")
    version = serializers.IntegerField(source="budget.version")
    spent_usd = serializers.FloatField(source="spent")
    held_usd = serializers.FloatField(source="held")
    committed_usd = serializers.FloatField(source="committed")
    resets_at = UtcField(allow_null=True)


class BudgetsSerializer(serializers.Serializer[Any]):
    budgets = BudgetSerializer(many=True)


class OneBudgetSerializer(serializers.Serializer[Any]):
    budget = BudgetSerializer()


class RemovedSerializer(serializers.Serializer[Any]):
    success = SuccessField()
    id = serializers.IntegerField()


class BudgetViewSet(StrictViewSet):
    """The budgets of the site, of organizations and of their people."""

    lookup_url_kwarg = "budget_id"
    lookup_value_converter = "int"

    @extend_schema(responses=BudgetsSerializer)
    def list(self, request: Request) -> Response:
        """List the budgets that apply to you.

        Admins also see the budgets of their organization's members, superusers see all.
        """
        return rendered(BudgetsSerializer, {"budgets": states(editing.visible_budgets(request.user))})

    @extend_schema(request=BudgetBody, responses={201: OneBudgetSerializer})
    @raises(PermissionDenied, Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request) -> Response:
        """Create a budget.

        Superusers do that for the site, an organization's admins for the organization and its members.
        """
        body, user = checked(BudgetBody, request.data), current_user(request)
        organization, person = _whose(user, body)
        terms = editing.Terms(
            body["amount_usd"], body["period"], body["thresholds"], body["action"], _site_zone(organization, body)
        )
        return _answer(editing.make(organization, person, terms, by=user), 201)

    @extend_schema(request=ChangeBudgetBody, responses=OneBudgetSerializer)
    @raises(PermissionDenied, Conflict)
    @needs(Scope.ADMINISTER)
    def partial_update(self, request: Request, budget_id: int) -> Response:
        """Change a budget.

        For an amount below what is spent and reserved the answer is 409, with the consequences; `confirm` accepts them.
        """
        budget, user = _find(request, budget_id), current_user(request)
        body = checked(ChangeBudgetBody, request.data)
        values: dict[str, Any] = {name: body[name] for name in ("thresholds", "action") if name in body}
        if "amount_usd" in body:
            values["amount"] = body["amount_usd"]
        if "time_zone" in body:
            values["site_zone"] = _site_zone(budget.organization, body)
        editing.change(budget, values, by=user, version=body.get("version"), confirmed=body["confirm"])
        return _answer(budget)

    @extend_schema(responses=RemovedSerializer)
    @raises(PermissionDenied)
    @needs(Scope.ADMINISTER)
    def destroy(self, request: Request, budget_id: int) -> Response:
        """Remove a budget."""
        editing.remove(_find(request, budget_id), by=current_user(request))
        return rendered(RemovedSerializer, {"id": budget_id})


def _answer(budget: Budget, status: int = 200) -> Response:
    (state,) = states([budget])
    return rendered(OneBudgetSerializer, {"budget": state}, status)


def _find(request: Request, budget_id: int) -> Budget:
    budget = editing.visible_budgets(request.user).filter(pk=budget_id).first()
    if budget is None:
        raise Http404
    return budget


def _whose(user: User, body: dict[str, Any]) -> tuple[Organization | None, User | None]:
    """Return organization and person. Raises ValidationError for what doesn't fit the scope, Http404 for others'."""
    needed = NEEDED[BudgetScope(body["scope"])]
    for name in ("organization", "user"):
        if bool(body[name]) != (name in needed):
            text = "is required" if name in needed else "is not allowed"
            raise ValidationError({name: f"{name} {text} in a budget of scope “{body['scope']}”."})
    if not needed:
        if not is_superuser(user):
            raise PermissionDenied("Only superusers can set a budget of the site.")
        return None, None
    organization = organizations_of(user).filter(name=body["organization"]).first()
    if organization is None:
        raise Http404
    if role_in(user, organization) != Role.ADMIN:
        raise PermissionDenied(f"Only the admins of {organization} can do this.")
    return organization, _member(organization, body["user"]) if "user" in needed else None


def _member(organization: Organization, name: str) -> User:
    member = editing.find_member(organization, name)
    if member is None:
        raise ValidationError({"user": f"{organization} has no member “{name}”."})
    return member


def _site_zone(organization: Organization | None, body: dict[str, Any]) -> str:
    """Raises ValidationError for a zone that is not the organization's: its days begin in its own."""
    zone: str = body.get("time_zone", "")
    if organization is None:
        return zone
    if zone and zone != organization.time_zone:
        reason = (
            f"{organization} counts days in {organization.time_zone}. Change it in its settings, and leave this out."
        )
        raise ValidationError({"time_zone": reason})
    return ""
