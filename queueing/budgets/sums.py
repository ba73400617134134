"""The spent and held sums of each budget, in a few queries for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Sum
from django.utils import timezone

from jobs.models import DayCost, JobAccount
from queueing.budgets.periods import Window, window
from queueing.models import Action, Budget, Scope

#: Organization and user.
Owner = tuple[int | None, int | None]
ZERO = Decimal(0)
MICRODOLLAR = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget with what is spent of it in the present period, and what is held for jobs that run."""

    budget: Budget
    window: Window
    spent: Decimal
    held: Decimal

    @property
    def committed(self) -> Decimal:
        return self.spent + self.held

    @property
    def left(self) -> Decimal:
        """What no job has spent or set aside; below 0 when jobs cost more than was thought."""
        return self.budget.amount - self.committed

    @property
    def is_used_up(self) -> bool:
        """Whether all is spent. A budget of nothing is used up only when something was spent."""
        return self.has_spent(100)

    @property
    def ends_jobs(self) -> bool:
        """Whether what runs is cancelled now."""
        return self.budget.action == Action.CANCEL and self.is_used_up

    @property
    def bites(self) -> bool:
        """Whether more is committed than its amount, or what runs is cancelled now."""
        return self.committed > self.budget.amount or self.ends_jobs

    def has_spent(self, percent: int) -> bool:
        """Whether so many percent of the amount are spent, and more than nothing."""
        return self.spent > 0 and self.spent * 100 >= self.budget.amount * percent

    @property
    def percent_spent(self) -> int:
        """Return how many percent of the amount are spent, rounded down; of an amount of nothing 100."""
        return int(self.spent * 100 / self.budget.amount) if self.budget.amount else 100

    @property
    def resets_at(self) -> datetime | None:
        return self.window.resets_at


def states(budgets: Iterable[Budget], now: datetime | None = None) -> list[BudgetState]:
    """Return the states of `budgets`, read with their organizations."""
    at = now or timezone.now()
    windows = [(budget, window(budget.period, budget.time_zone, at)) for budget in budgets]
    if not windows:
        return []
    concerned = _organizations(budget for budget, _ in windows)
    spent = {start: _spent_since(start, concerned) for start in {one.start for _, one in windows}}
    held = _held(concerned)
    return [
        BudgetState(budget, one, _sum_of(spent[one.start], budget), _sum_of(held, budget)) for budget, one in windows
    ]


def all_states(now: datetime | None = None) -> list[BudgetState]:
    return states(Budget.objects.select_related("organization", "user"), now)


def _organizations(budgets: Iterable[Budget]) -> set[int] | None:
    """None: all of them."""
    ids = {budget.organization_id for budget in budgets}
    return None if None in ids else {pk for pk in ids if pk is not None}


def _spent_since(start: date, organizations: set[int] | None) -> Mapping[Owner, Decimal]:
    # Days after the period count too, of a zone that is ahead or a clock that jumped: too much, not too little.
    days = DayCost.objects.filter(day__gte=start)
    if organizations is not None:
        days = days.filter(organization__in=organizations)
    groups = days.order_by().values_list("organization_id", "user_id").annotate(Sum("spent"))
    return {(organization, user): amount for organization, user, amount in groups}


def _held(organizations: set[int] | None) -> Mapping[Owner, Decimal]:
    accounts = JobAccount.objects.filter(held__gt=0)
    if organizations is not None:
        accounts = accounts.filter(organization__in=organizations)
    sums: dict[Owner, Decimal] = defaultdict(Decimal)
    for organization, user, amount in (
        accounts.order_by().values_list("organization_id", "user_id").annotate(Sum("held"))
    ):
        sums[organization, user] += amount
    return sums


def _sum_of(sums: Mapping[Owner, Decimal], budget: Budget) -> Decimal:
    if budget.scope == Scope.USER:
        amount = sums.get((budget.organization_id, budget.user_id), ZERO)
    else:
        concerned: Sequence[Decimal] = [
            amount
            for (organization, _), amount in sums.items()
            if budget.scope == Scope.SITE or organization == budget.organization_id
        ]
        amount = sum(concerned, ZERO)
    return amount.quantize(MICRODOLLAR)
