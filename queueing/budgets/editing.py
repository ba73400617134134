"""The verbs of those who set budgets. Each change is put on record, and the next pass goes by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import Http404

from cloudtrain_site.audit.recording import differences, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import Membership, Organization
from jobs.organizations.authority import By, actor_of, check_administers, check_runs_site
from jobs.permissions import AnyUser, is_superuser, organizations_of, role_in
from jobs.roles import Role
from queueing import passes
from queueing.budgets import sentences
from queueing.budgets.sums import BudgetState, states
from queueing.models import Budget, Period, Scope

#: The columns that `change` may write.
CHANGEABLE = ("amount", "thresholds", "action", "site_zone")
#: The codes of what a change is refused with, and may be asked again.
CONFIRM_NEEDED, CHANGED_MEANWHILE = "confirm_needed", "changed_meanwhile"
#: Of a threshold, and how many a budget may have.
MAX_PERCENT, MAX_THRESHOLDS = 1000, 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What a new budget says besides whose it is."""

    amount: Decimal
    period: str
    thresholds: list[int]
    action: str
    site_zone: str


def visible_budgets(user: AnyUser) -> QuerySet[Budget]:
    """Return the budgets that `user` may see: their organizations', their own, and all where they are admins."""
    budgets = Budget.objects.select_related("organization", "user")
    if is_superuser(user):
        return budgets
    administered = Q(organization__in=organizations_of(user, (Role.ADMIN,)))
    own = Q(organization__in=organizations_of(user)) & (Q(scope=Scope.ORGANIZATION) | Q(user=user.pk))
    return budgets.filter(administered | own)


def may_set(user: AnyUser, budget: Budget) -> bool:
    """Whether `user` may change and remove `budget`, and set others like it."""
    if budget.organization_id is None:
        return is_superuser(user)
    return role_in(user, budget.organization_id) == Role.ADMIN


def find_member(organization: Organization, name: str) -> User | None:
    """Return the member of that user name, for a budget of their own."""
    membership = Membership.objects.filter(organization=organization, user__username=name).select_related("user")
    found = membership.first()
    return None if found is None else found.user


def make(organization: Organization | None, person: User | None, terms: Terms, *, by: By) -> Budget:
    """Return a new budget of `person` in `organization`, of the organization, or of the site.

    Raises PermissionDenied, and Conflict when there is one for that period already.
    """
    budget = _new(organization, person, terms)
    try:
        with unit_of_work():
            _check_right(budget, by)
            with transaction.atomic():
                budget.save(force_insert=True)
            record("budget_made", budget, by=actor_of(by), organization=organization, after=_shown(budget))
            passes.rules_changed()
    except IntegrityError:
        period = Period(terms.period).label.lower()
        raise Conflict(f"There is a budget of {budget.owner} for a {period} already.", code="budget_exists") from None
    return budget


def planned(organization: Organization | None, person: User | None, terms: Terms) -> BudgetState:
    """Return the state that a new budget would have now. Stores nothing."""
    (state,) = states([_new(organization, person, terms)])
    return state


def changed(budget: Budget, values: dict[str, Any]) -> BudgetState:
    """Return the state that `budget` would have with other values. Stores nothing."""
    for name in CHANGEABLE:
        setattr(budget, name, values.get(name, getattr(budget, name)))
    (state,) = states([budget])
    return state


def _new(organization: Organization | None, person: User | None, terms: Terms) -> Budget:
    scope = Scope.USER if person else Scope.ORGANIZATION if organization else Scope.SITE
    budget = Budget(scope=scope, organization=organization, user=person)
    for name in (*CHANGEABLE, "period"):
        setattr(budget, name, getattr(terms, name))
    return budget


def change(
    budget: Budget, values: dict[str, Any], *, by: User, version: int | None = None, confirmed: bool = False
) -> bool:
    """Set some of CHANGEABLE. Returns whether anything changed.

    Raises PermissionDenied; Conflict when `version` is not the present one, since somebody else changed it, and when
    it bites at once, unless that is `confirmed`; Http404 when the budget is gone.
    """
    with unit_of_work():
        current = _locked(budget)
        _check_right(current, by)
        if version is not None and version != current.version:
            raise Conflict(
                "Somebody else changed this budget meanwhile. Check it, then change it again.",
                code=CHANGED_MEANWHILE,
            )
        before = _shown(current)
        state = changed(current, values)
        old, new = differences(before, _shown(current))
        if not new:
            return False
        if not confirmed:
            _check_bite(state, old)
        current.version += 1
        current.save(update_fields=[*CHANGEABLE, "version"])
        record("budget_changed", current, by=actor_of(by), organization=current.organization, before=old, after=new)
        passes.rules_changed()
    for name in (*CHANGEABLE, "version"):
        setattr(budget, name, getattr(current, name))
    return True


def remove(budget: Budget, *, by: User) -> None:
    """Remove a budget: it limits nothing from now on. Raises PermissionDenied, and Http404 when it is gone."""
    with unit_of_work():
        current = _locked(budget)
        _check_right(current, by)
        record("budget_removed", current, by=actor_of(by), organization=current.organization, before=_shown(current))
        current.delete()
        passes.rules_changed()


def _locked(budget: Budget) -> Budget:
    locked = Budget.objects.select_for_update(of=("self",)).select_related("organization", "user")
    found = locked.filter(pk=budget.pk).first()
    if found is None:
        raise Http404
    return found


def _check_right(budget: Budget, by: By) -> None:
    if budget.organization is None:
        check_runs_site(by)
    else:
        check_administers(by, budget.organization)


def _check_bite(state: BudgetState, old: dict[str, Any]) -> None:
    """Raises Conflict with what happens: the new amount is below what is committed, or what runs is cancelled now."""
    is_lowered = float(state.budget.amount) < old.get("amount_usd", 0)
    if (is_lowered and state.bites) or ("action" in old and state.ends_jobs):
        raise Conflict(f"{sentences.consequences(state)} Send it again with confirm to do so.", code=CONFIRM_NEEDED)


def _shown(budget: Budget) -> dict[str, Any]:
    return {
        "amount_usd": float(budget.amount),
        "period": budget.period,
        "thresholds": budget.thresholds,
        "action": budget.action,
        "time_zone": budget.time_zone,
    }


def checked_thresholds(percents: Iterable[int]) -> list[int]:
    """Return them once each, the lowest first."""
    return sorted(set(percents))
