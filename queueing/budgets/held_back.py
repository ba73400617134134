"""The jobs that wait because a budget has no room for them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from queueing.budgets.sums import ZERO, BudgetState
from queueing.models import LARGE, Budget, QueueEntry, QueueEntryQuerySet, Scope
from queueing.statuses import EntryStatus

#: More are not counted.
MAX_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class HeldBack:
    #: The first of them, in the queue's order.
    entries: list[QueueEntry]
    #: At most MAX_COUNTED.
    count: int

    @property
    def is_cut(self) -> bool:
        return self.count == MAX_COUNTED

    @property
    def has_more(self) -> bool:
        return self.count > len(self.entries)


def entries_of(budget: Budget) -> QueueEntryQuerySet:
    """Return the entries whose jobs the budget concerns."""
    entries = QueueEntry.objects.all()
    if budget.scope != Scope.SITE:
        entries = entries.filter(organization=budget.organization_id)
    return entries.filter(user=budget.user_id) if budget.scope == Scope.USER else entries


def held_back_by(state: BudgetState, at_most: int = 20) -> HeldBack:
    """Return the waiting jobs for which nothing, or too little, is left of the budget, as a pass sees it."""
    lacks = Q(needs_usd=None) | Q(needs_usd__gt=max(state.left, ZERO))
    waiting = entries_of(state.budget).filter(lacks, status=EntryStatus.PENDING)
    shown = waiting.in_order().select_related("job", "user").defer(*LARGE)[:at_most]
    return HeldBack(list(shown), len(waiting.values_list("pk", flat=True)[:MAX_COUNTED]))
