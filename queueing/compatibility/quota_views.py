"""SimpleTuner's quotas over our budgets and limits: `quota` and `auth orgs quotas`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, checked, current_user, raises
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.compatibility.elsewhere import CompatibleView, NotHereError
from cloudtrain_site.models import Scope
from cloudtrain_site.states import Actor
from jobs.models import Organization
from jobs.organizations.authority import check_administers
from jobs.permissions import AnyUser, is_superuser, organizations_of
from queueing.budgets import editing
from queueing.budgets.editing import Terms
from queueing.budgets.sums import BudgetState, states
from queueing.models import LARGEST_BUDGET, Action, Period, QueueEntry, default_thresholds
from queueing.operations import ChangedBy, LimitError, set_organization

#: The kinds that there are here, each with its description and unit.
TYPES = {
    "cost_monthly": ("The most that can be spent in a month; beyond it new jobs wait.", "USD"),
    "cost_daily": ("The most that can be spent in a day; beyond it new jobs wait.", "USD"),
    "concurrent_jobs": ("How many jobs of an organization run at once.", "jobs"),
}
PERIODS = {"cost_monthly": Period.MONTH, "cost_daily": Period.DAY}
KINDS = {period: kind for kind, period in PERIODS.items()}
OTHER_KINDS = (
    "There are cost_monthly, cost_daily and concurrent_jobs. A rule with jobs_in_day_exceed holds what one person "
    "submits beyond a number (POST /api/approvals/rules), and the configuration file says how many trainings this "
    "machine runs."
)
BLOCKS = "A budget warns at its thresholds and then holds new jobs; a rule asks for approvals. Choose --action block."
NO_TEAMS = "There are no teams within an organization: a budget is of an organization or of one person in it."
#: What the list shows where a quota has no number of its own: a limit belongs to its organization.
NO_ID = "-"
LARGEST_LIMIT = 2**31 - 1


class QuotaBody(StrictSerializer):
    quota_type = serializers.CharField(max_length=40)
    limit_value = serializers.DecimalField(
        max_digits=20, decimal_places=2, min_value=Decimal(0), max_value=LARGEST_BUDGET
    )
    action = serializers.CharField(max_length=20, default="block")
    user_id = serializers.IntegerField(min_value=1, required=False)
    team_id = serializers.IntegerField(min_value=1, required=False)
    org_id = serializers.IntegerField(min_value=1, max_value=LARGEST_LIMIT, required=False)


class Quotas(CompatibleView):
    def get(self, request: Request) -> Response:
        """List budgets and limits."""
        return Response({"quotas": _quotas(request.user)})

    @extend_schema(request=QuotaBody)
    @raises(NotHereError)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request) -> Response:
        """Create a budget, or limit the running jobs."""
        body = checked(QuotaBody, request.data)
        return Response({"quota": _make(current_user(request), body, _organization(request.user, body.get("org_id")))})


class OneQuota(CompatibleView):
    @needs(Scope.ADMINISTER)
    def delete(self, request: Request, budget_id: int) -> Response:
        """Remove a budget."""
        budget = editing.visible_budgets(request.user).filter(pk=budget_id).first()
        if budget is None:
            raise Http404
        editing.remove(budget, by=current_user(request))
        return Response({"success": True})


class QuotaStatus(CompatibleView):
    def get(self, request: Request) -> Response:
        """List budgets and limits with what is used of them."""
        return Response({"quotas": _quotas(request.user)})


class QuotaTypes(CompatibleView):
    def get(self, request: Request) -> Response:
        """List the kinds."""
        types = [{"name": name, "description": text, "unit": unit} for name, (text, unit) in TYPES.items()]
        return Response({"types": types})


class OrganizationQuotas(CompatibleView):
    def get(self, request: Request, organization_id: int) -> Response:
        """List an organization's budgets and its limit."""
        found = _organization(request.user, organization_id)
        assert found is not None
        quotas = [one for one in _quotas(request.user) if one["org_id"] == found.pk]
        return Response({"organization": {"id": found.pk, "name": found.name}, "quotas": quotas})

    @extend_schema(request=QuotaBody)
    @raises(NotHereError)
    @needs(Scope.ADMINISTER)
    def post(self, request: Request, organization_id: int) -> Response:
        """Create an organization's budget, or limit its running jobs."""
        found = _organization(request.user, organization_id)
        body = checked(QuotaBody, request.data)
        return Response({"success": True, "quota": _make(current_user(request), body, found)})


def _organization(user: AnyUser, pk: int | None) -> Organization | None:
    """Return the organization with that id, or the asker's only one; None: several. Raises Http404."""
    organizations = organizations_of(user)
    if pk is None:
        found = list(organizations[:2])
        return found[0] if len(found) == 1 else None
    organization = organizations.filter(pk=pk).first()
    if organization is None:
        raise Http404
    return organization


def _make(user: User, body: dict[str, Any], organization: Organization | None) -> dict[str, Any]:
    kind, amount = body["quota_type"], body["limit_value"]
    if "team_id" in body:
        raise NotHereError(NO_TEAMS)
    if kind not in TYPES:
        raise NotHereError(OTHER_KINDS)
    if body["action"] != "block":
        raise NotHereError(BLOCKS)
    is_of_site = "org_id" not in body and "user_id" not in body and is_superuser(user)
    if organization is None and not is_of_site:
        raise serializers.ValidationError({"org_id": ["Name the organization: `auth orgs list` has its number."]})
    if kind == "concurrent_jobs":
        return _set_limit(user, organization, amount)
    person = None
    if "user_id" in body:
        person = User.objects.filter(pk=body["user_id"], memberships__organization=organization).first()
        if person is None:
            raise serializers.ValidationError({"user_id": ["No member of the organization has this number."]})
    owner = None if is_of_site else organization
    terms = Terms(amount, PERIODS[kind], default_thresholds(), Action.HOLD, "")
    (state,) = states([editing.make(owner, person, terms, by=user)])
    return _shown(state)


def _set_limit(user: User, organization: Organization | None, amount: Decimal) -> dict[str, Any]:
    if organization is None:
        raise serializers.ValidationError({"org_id": ["Name the organization: `auth orgs list` has its number."]})
    check_administers(user, organization)
    by = ChangedBy(Actor.of(user), current_source())
    try:
        set_organization(organization, int(amount), by, may_exceed=is_superuser(user))
    except LimitError as error:
        raise serializers.ValidationError({"limit_value": [str(error)]}) from None
    return _limit(organization, 0)


def _quotas(user: AnyUser) -> list[dict[str, Any]]:
    limited = organizations_of(user).exclude(max_running=None).order_by("name")
    running = _running(limited)
    budgets = [state for state in states(editing.visible_budgets(user)) if state.budget.period in KINDS]
    return [*map(_shown, budgets), *(_limit(one, running.get(one.pk, 0)) for one in limited)]


def _running(organizations: Iterable[Organization]) -> dict[int | None, int]:
    counts: dict[int | None, int] = {}
    entries = QueueEntry.objects.taking_slots().filter(organization__in=organizations)
    for pk in entries.values_list("organization_id", flat=True):
        counts[pk] = counts.get(pk, 0) + 1
    return counts


def _shown(state: BudgetState) -> dict[str, Any]:
    budget = state.budget
    kind, used = KINDS[Period(budget.period)], float(state.committed)
    return _quota(budget.pk, kind, float(budget.amount), used, budget.organization_id, budget.user_id)


def _limit(organization: Organization, running: int) -> dict[str, Any]:
    return _quota(NO_ID, "concurrent_jobs", organization.max_running, running, organization.pk, None)


def _quota(
    number: int | str, kind: str, limit: float | None, used: float, org_id: int | None, user_id: int | None
) -> dict[str, Any]:
    return {
        "id": number,
        "quota_type": kind,
        "limit_value": limit,
        "current_usage": used,
        "action": "block",
        "user_id": user_id,
        "team_id": None,
        "org_id": None if user_id else org_id,
    }
