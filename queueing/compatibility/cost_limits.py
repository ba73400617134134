"""SimpleTuner's limit of what a provider may cost, as a budget: of the site, or of the asker's organization."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from rest_framework.exceptions import PermissionDenied, ValidationError

from cloudtrain_site.compatibility.elsewhere import NotHereError
from jobs.models import Organization
from jobs.permissions import is_superuser, organizations_of
from jobs.roles import Role
from queueing.budgets import editing
from queueing.budgets.editing import Terms
from queueing.models import Action, Budget, Period, Scope, default_thresholds

PERIODS = {"daily": Period.DAY, "monthly": Period.MONTH}
NO_WEEKS = "A budget is for a day, a month or all time: choose --period daily or monthly."
WARNS = "A budget warns at its thresholds and then holds new jobs: choose --action block."
ASKS = "Rules ask for approvals: POST /api/approvals/rules with cost_exceeds. A budget holds new jobs: --action block."


def limit_of(user: User) -> dict[str, Any]:
    """Return the limit as SimpleTuner's command line shows it: the month's, or else the day's."""
    budget = _find(user)
    if budget is None:
        return {"cost_limit_enabled": False, "cost_limit_amount": 0.0}
    return {
        "cost_limit_enabled": True,
        "cost_limit_amount": float(budget.amount),
        "cost_limit_period": next(name for name, period in PERIODS.items() if period == budget.period),
        "cost_limit_action": "block",
    }


def change_limit(user: User, values: Mapping[str, Any]) -> None:
    """Set the budget, or remove the shown one. Raises PermissionDenied, NotHereError and ValidationError."""
    if values.get("cost_limit_enabled") is False:
        budget = _find(user, to_change=True)
        if budget is not None:
            editing.remove(budget, by=user)
        return
    if "cost_limit_amount" not in values:
        raise ValidationError({"cost_limit_amount": "Give the amount in US dollars."})
    period, action = values.get("cost_limit_period", "monthly"), values.get("cost_limit_action", "warn")
    if period not in PERIODS:
        raise NotHereError(NO_WEEKS)
    if action != "block":
        raise NotHereError(ASKS if action == "require_approval" else WARNS)
    _set(user, PERIODS[period], values["cost_limit_amount"])


def _set(user: User, period: Period, amount: Decimal) -> None:
    organization = _owner(user)
    budget = _budgets_of(organization).filter(period=period).first()
    if budget is None:
        editing.make(organization, None, Terms(amount, period, default_thresholds(), Action.HOLD, ""), by=user)
    else:
        editing.change(budget, {"amount": amount}, by=user)


def _find(user: User, *, to_change: bool = False) -> Budget | None:
    organizations = [_owner(user)] if to_change or is_superuser(user) else list(organizations_of(user)[:2])
    if len(organizations) != 1:
        return None
    found = _budgets_of(organizations[0]).filter(period__in=PERIODS.values())
    return found.order_by("-period").select_related("organization").first()


def _budgets_of(organization: Organization | None) -> QuerySet[Budget]:
    scope = Scope.SITE if organization is None else Scope.ORGANIZATION
    return Budget.objects.filter(scope=scope, organization=organization)


def _owner(user: User) -> Organization | None:
    """Return whose budgets the user sets: the site's (None) for a superuser, else the one organization's."""
    if is_superuser(user):
        return None
    administered = list(organizations_of(user, (Role.ADMIN,))[:2])
    if len(administered) != 1:
        raise PermissionDenied(
            "Limits are set by an organization's admins and superusers. Admins of several use POST /api/cloud/budgets."
        )
    return administered[0]
