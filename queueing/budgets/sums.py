"""The spent and held sums of each budget, in a few queries for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from django.db.models import QuerySet, Sum
from django.utils import timezone

from jobs.models import DayCost, JobAccount, LedgerEntry
from jobs.models.ledger import IS_IMPORTED
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
    window_of = cache(lambda period, zone: window(period, zone, at))
    windows = [(budget, window_of(budget.period, budget.time_zone)) for budget in budgets]
    if not windows:
        return []
    concerned = _organizations(budget for budget, _ in windows)
    people = {budget.user_id for budget, _ in windows if budget.user_id is not None}
    starts = {one.start for _, one in windows}
    spent = {start: _Sums(_days_since(start, concerned), "spent", people) for start in starts}
    imported = {start: _Sums(imported_since(start), "amount", people, "day") for start in starts}
    held = _Sums(_holding(concerned), "held", people)
    return [
        BudgetState(budget, one, spent[one.start].of(budget) - imported[one.start].of(budget), held.of(budget))
        for budget, one in windows
    ]


def all_states(now: datetime | None = None, *, with_people: bool = True) -> list[BudgetState]:
    """Return the states of all budgets. Without people, a budget's own is a query of its own where it is named."""
    related = ("organization", "user") if with_people else ("organization",)
    return states(Budget.objects.prefetch_related(*related), now)


def _organizations(budgets: Iterable[Budget]) -> set[int] | None:
    """None: all of them."""
    ids = {budget.organization_id for budget in budgets}
    return None if None in ids else {pk for pk in ids if pk is not None}


def _days_since(start: date, organizations: set[int] | None) -> QuerySet[DayCost]:
    # Days after the period count too, of a zone that is ahead or a clock that jumped: too much, not too little.
    days = DayCost.objects.filter(day__gte=start)
    return days if organizations is None else days.filter(organization__in=organizations)


def imported_since(start: date) -> QuerySet[LedgerEntry]:
    """Return the entries of what jobs had cost before they came here, which no budget counts."""
    return LedgerEntry.objects.filter(IS_IMPORTED, day__gte=start)


def _holding(organizations: set[int] | None) -> QuerySet[JobAccount]:
    accounts = JobAccount.objects.filter(held__gt=0)
    return accounts if organizations is None else accounts.filter(organization__in=organizations)


class _Sums:
    """The sums of a column by organization, and of `people` in each: a thousand others need no rows of their own."""

    def __init__(self, rows: QuerySet[Any], column: str, people: set[int], *first: str) -> None:
        """`first` are the leading columns of the index: a database uses it if the rows are grouped by them too."""
        self._of_organizations = _added_up(rows, column, *first, "organization_id")
        self._of_site = sum(self._of_organizations.values(), ZERO)
        theirs = rows.filter(user__in=people)
        self._of_people = _added_up(theirs, column, *first, "organization_id", "user_id") if people else {}

    def of(self, budget: Budget) -> Decimal:
        if budget.scope == Scope.SITE:
            amount = self._of_site
        elif budget.scope == Scope.ORGANIZATION:
            amount = self._of_organizations.get((budget.organization_id, None), ZERO)
        else:
            amount = self._of_people.get((budget.organization_id, budget.user_id), ZERO)
        return amount.quantize(MICRODOLLAR)


def _added_up(rows: QuerySet[Any], column: str, *groups: str) -> dict[Owner, Decimal]:
    """Return the sums by organization, and by user where that is among the groups."""
    sums: dict[Owner, Decimal] = defaultdict(Decimal)
    for *values, amount in rows.order_by().values_list(*groups).annotate(Sum(column)):
        group = dict(zip(groups, values, strict=True))
        sums[group["organization_id"], group.get("user_id")] += amount
    return sums
