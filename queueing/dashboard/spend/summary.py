"""What is spent, held and left in the time of the view, and the budget that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from cloudtrain_site.wording.values import money
from jobs.costs.report import count_unpriced
from jobs.costs.spending import Spending
from jobs.models import Organization
from jobs.permissions import is_superuser
from queueing.budgets.editing import visible_budgets
from queueing.budgets.sums import BudgetState, states
from queueing.budgets.watch import forecast
from queueing.dashboard.spend.charts import Committed, committed_bar
from queueing.models import Period, Scope

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tile:
    label: str
    figure: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums. `state`: of the month's budget, when the view is its month; `is_of_now`: what is held belongs to it."""

    spent: Decimal
    held: Decimal
    is_of_now: bool
    unpriced_jobs: int
    state: BudgetState | None
    forecast: Decimal | None

    @property
    def is_empty(self) -> bool:
        return not (self.spent or self.held or self.unpriced_jobs)

    @property
    def tiles(self) -> list[Tile]:
        tiles = [Tile("Spent", money(max(self.spent, ZERO)))]
        if self.is_of_now:
            tiles.append(Tile("Reserved", money(self.held), "for started jobs"))
        if self.state is not None:
            left = self.state.left
            tiles.append(Tile("Free", money(left)) if left >= 0 else Tile("Over the budget", money(-left)))
        if self.forecast is not None:
            tiles.append(Tile("Forecast", money(self.forecast), "at the pace of the last 7 days"))
        return tiles

    @property
    def bar(self) -> Committed | None:
        """Against the budget; without one there is no whole to be a part of."""
        return committed_bar(self.spent, self.held, self.state.budget.amount) if self.state else None

    @property
    def a_day(self) -> Decimal | None:
        """The budget spread evenly over its month."""
        return None if self.state is None else self.state.budget.amount / self.state.window.days

    @property
    def budget_sentence(self) -> str:
        state = self.state
        if state is None:
            return ""
        amounts = f"{money(state.committed)} of {money(state.budget.amount)} committed"
        return f"Budget of {state.budget.owner} for {state.window.name}: {amounts}. {state.window.resets}."

    @property
    def line_label(self) -> str:
        """What the line across the bars is."""
        if self.state is None or self.a_day is None:
            return ""
        return f"{money(self.a_day)} a day uses up the budget of {money(self.state.budget.amount)}"

    @property
    def bar_label(self) -> str:
        """The committed bar in words."""
        free = f", {money(self.state.left)} free" if self.state and self.state.left >= 0 else ""
        return f"{money(max(self.spent, ZERO))} spent, {money(self.held)} reserved{free}"


def summary_of(spending: Spending, spent: Decimal, owner: Organization | None, today: date) -> Summary:
    """Return the sums of the view. `owner`: the only organization that it is of."""
    is_of_now = spending.start <= today <= spending.end
    state = _budget(spending, owner)
    return Summary(
        spent=spent,
        held=spending.held() if is_of_now else ZERO,
        is_of_now=is_of_now,
        unpriced_jobs=count_unpriced(spending, with_running=is_of_now),
        state=state,
        forecast=forecast(state) if state else None,
    )


def _budget(spending: Spending, owner: Organization | None) -> BudgetState | None:
    """Return the month's budget of the organization, or of the site where the view is of all of it, and of this month.

    That of another month is not known: amounts change.
    """
    if owner is None and not is_superuser(spending.user):
        return None
    scope = Scope.ORGANIZATION if owner else Scope.SITE
    found = visible_budgets(spending.user).filter(scope=scope, organization=owner, period=Period.MONTH)
    for state in states(found):
        last_day = (state.window.after or state.window.start) - timedelta(days=1)
        if (spending.start, spending.end) == (state.window.start, last_day):
            return state
    return None
