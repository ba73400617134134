"""What people read about budgets. Pure."""

from __future__ import annotations

from decimal import Decimal

from queueing.budgets.sums import BudgetState
from queueing.models import Action, Budget, Period, Scope

ONE_DOLLAR = Decimal(1)


def money(amount: Decimal) -> str:
    """Return `$480`, `$480.50`, `$0.00` or `$0.0012`."""
    if amount and abs(amount) < Decimal("0.01"):
        return f"${amount.normalize():f}"
    return f"${amount:,.0f}" if amount and amount == amount.to_integral_value() else f"${amount:,.2f}"


def who_raises(state: BudgetState) -> str:
    return "a superuser" if state.budget.scope == Scope.SITE else "an admin"


def waiting(state: BudgetState, needs: Decimal | None, *, with_sums: bool, unpriced: str = "") -> str:
    """Return why a job waits. `with_sums`: whether the reader may know what others have spent.

    `needs` None: its cost is not known; `unpriced` is then its hardware, if that has no price.
    """
    budget, window = state.budget, state.window
    beginning = f"Budget of {budget.owner} for {window.name}"
    if needs is None:
        if unpriced:
            return f"{beginning}: {unpriced} has no price, so this job waits until a superuser sets one."
        starts = "It starts once an admin sets a cost limit for it (max_cost_usd)."
        return f"{beginning}: the cost of this job is not known, so it waits. {starts}"
    sums = f"{money(state.committed)} of {money(budget.amount)} committed, " if with_sums else ""
    end = "" if with_sums else " and less is left"
    raised = f"{who_raises(state)} raises it"
    return f"{beginning}: {sums}this job needs about {money(needs)}{end}. {window.resets}, or {raised}."


def left(state: BudgetState, needs: Decimal | None, *, with_sums: bool) -> str:
    """Return what is left for a job for which it is enough. `needs`: 0 for no job in particular."""
    budget = state.budget
    beginning = f"Budget of {budget.owner} for {state.window.name}"
    if not with_sums:
        return f"{beginning}: enough is left."
    rest = f"; this job needs about {money(needs)}" if needs else ""
    return f"{beginning}: {money(max(state.left, Decimal(0)))} of {money(budget.amount)} left{rest}."


def reached(state: BudgetState, percent: int) -> str:
    """Return what a threshold's event and notice say."""
    budget = state.budget
    sums = f"{money(state.spent)} of {money(budget.amount)} spent ({percent} %)"
    ending = {
        Action.HOLD: "No more jobs start. Running jobs continue.",
        Action.FINISH: "No more jobs start. Running jobs continue, and their submitters are warned.",
        Action.CANCEL: "No more jobs start. Running jobs are cancelled.",
    }[Action(budget.action)]
    rest = f" {ending}" if percent >= 100 else ""
    return f"Budget of {budget.owner} for {state.window.name}: {sums}.{rest}"


def used_up(state: BudgetState) -> str:
    """Return why a job is warned, or cancelled."""
    return f"Budget of {state.budget.owner} for {state.window.name} reached"


def forecast(state: BudgetState, expected: Decimal) -> str:
    budget = state.budget
    beginning = f"Budget of {budget.owner} for {state.window.name}: at the pace of the last 7 days {money(expected)}"
    if expected > budget.amount:
        return f"{beginning} will be spent, more than {money(budget.amount)}."
    return f"{beginning} of {money(budget.amount)} will be spent."


def committed(state: BudgetState) -> str:
    """Return `$480 of $500 committed: $450 spent, $30 reserved for started jobs, $20 left.`"""
    budget = state.budget
    rest = f"{money(state.left)} left" if state.left >= 0 else f"{money(-state.left)} more than the budget"
    parts = f"{money(state.spent)} spent, {money(state.held)} reserved for started jobs, {rest}"
    return f"{money(state.committed)} of {money(budget.amount)} committed: {parts}."


def consequences(state: BudgetState) -> str:
    """Return what happens when a budget of which more is committed than its amount is set."""
    budget = state.budget
    if state.committed > budget.amount:
        beginning = f"{money(state.committed)} are already committed, more than {money(budget.amount)}: "
    else:
        beginning = f"All of {money(budget.amount)} is spent: "
    ending = {
        Action.HOLD: "Running jobs continue.",
        Action.FINISH: "Running jobs continue, and their submitters are warned.",
        Action.CANCEL: "Running jobs are cancelled."
        if state.is_used_up
        else "Running jobs are cancelled once it is spent.",
    }[Action(budget.action)]
    return f"{beginning}no more jobs start. {ending} {state.window.resets}."


def terms(budget: Budget) -> str:
    """Return `$500 for a month, thresholds at 50, 80, 100 %, nothing new starts once it is spent`."""
    percents = ", ".join(map(str, budget.thresholds))
    thresholds = f"thresholds at {percents} %" if percents else "no thresholds"
    period = {Period.MONTH: "for a month", Period.DAY: "for a day", Period.LIFETIME: "once"}[Period(budget.period)]
    return f"{money(budget.amount)} {period}, {thresholds}. Once it is spent: {Action(budget.action).label.lower()}."
