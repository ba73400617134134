"""A budget as people read it: its sums, its bar, its thresholds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from queueing.budgets import sentences, watch
from queueing.budgets.sums import BudgetState
from queueing.dashboard.spend.charts import committed_bar
from queueing.models import BudgetNotice, Period

PERIODS = {Period.MONTH: "each month", Period.DAY: "each day", Period.LIFETIME: "once"}


def row_of(state: BudgetState) -> dict[str, Any]:
    """Return what a list shows of a budget."""
    budget = state.budget
    return {
        "budget": budget,
        "state": state,
        "period": PERIODS[Period(budget.period)],
        "amount": sentences.money(budget.amount),
        "committed": sentences.committed(state),
        "left": sentences.money(max(state.left, Decimal(0))),
        "is_near": state.has_spent(watch.NOTICE_FROM),
        "is_full": state.committed >= budget.amount,
        "resets": state.window.resets,
        "bar": committed_bar(state.spent, state.held, budget.amount),
    }


def thresholds_of(state: BudgetState) -> list[dict[str, Any]]:
    """Return the budget's thresholds, and when each was reached in the present period."""
    budget = state.budget
    notices = BudgetNotice.objects.filter(budget=budget, period_start=state.window.start)
    reached = {notice.threshold: notice for notice in notices}
    return [
        {
            "percent": percent,
            "amount": sentences.money(budget.amount * percent / 100),
            "notice": reached.get(percent),
        }
        for percent in budget.thresholds
    ]


def forecast_of(state: BudgetState) -> dict[str, Any] | None:
    """Return what will be spent by the end of the month at the present pace; None: the period is no month."""
    if state.window.days <= 1:
        return None
    expected = watch.forecast(state)
    if expected is None:
        return None
    return {"text": sentences.forecast(state, expected), "is_over": expected > state.budget.amount}
