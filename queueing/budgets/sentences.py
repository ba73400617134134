"""What people read about budgets. Pure."""

from __future__ import annotations

from decimal import Decimal

from queueing.budgets.sums import BudgetState
from queueing.models import Action, Scope

ONE_DOLLAR = Decimal(1)


def money(amount: Decimal) -> str:
    """Return `$480`, `$480.50` or `$0.0012`."""
    if amount and abs(amount) < Decimal("0.01"):
        return f"${amount.normalize():f}"
    return f"${amount:,.0f}" if amount == amount.to_integral_value() else f"${amount:,.2f}"


def who_raises(state: BudgetState) -> str:
    return "a superuser" if state.budget.scope == Scope.SITE else "an admin"


def waiting(state: BudgetState, needs: Decimal | None, *, with_sums: bool, hardware: str = "") -> str:
    """Return why a job waits. `with_sums`: whether the reader may know what others have spent."""
    budget, window = state.budget, state.window
    beginning = f"Budget of {budget.owner} for {window.name}"
    if needs is None:
        return (
            f"{beginning}: the cost of this job is not known, so it can't be checked. A price for "
            f"{hardware or 'its hardware'}, or a limit for this job (max_cost_usd), lets it start."
        )
    sums = f"{money(state.committed)} of {money(budget.amount)} committed, " if with_sums else ""
    end = "" if with_sums else " and less is left"
    raised = f"{who_raises(state)} raises it"
    return f"{beginning}: {sums}this job needs about {money(needs)}{end}. {window.resets}, or {raised}."


def reached(state: BudgetState, percent: int) -> str:
    """Return what a threshold's event and notice say."""
    budget = state.budget
    sums = f"{money(state.spent)} of {money(budget.amount)} spent ({percent} %)"
    ending = {
        Action.HOLD: "No further job starts. What runs is left alone.",
        Action.FINISH: "No further job starts. What runs may finish.",
        Action.CANCEL: "No further job starts. What runs is cancelled.",
    }[Action(budget.action)]
    rest = f" {ending}" if percent >= 100 else ""
    return f"Budget of {budget.owner} for {state.window.name}: {sums}.{rest}"


def forecast(state: BudgetState, expected: Decimal) -> str:
    budget = state.budget
    return (
        f"Budget of {budget.owner} for {state.window.name}: at the pace of the last 7 days {money(expected)} will be "
        f"spent, and {money(budget.amount)} are allowed."
    )


def lowered(state: BudgetState, amount: Decimal) -> str:
    """Return what happens when the budget is set to `amount`, which is below what is committed."""
    budget = state.budget
    beginning = f"{money(state.committed)} are committed already, more than {money(amount)}: no further job starts."
    is_spent = state.spent >= amount
    ending = {
        Action.HOLD: "What runs is left alone.",
        Action.FINISH: "What runs may finish.",
        Action.CANCEL: "What runs is cancelled." if is_spent else "What runs is cancelled once all of it is spent.",
    }[Action(budget.action)]
    return f"{beginning} {ending} {state.window.resets}. Send it again with confirm to do so."
