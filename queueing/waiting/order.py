"""The order of the waiting entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Case, F, IntegerField, Q, Value, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from queueing.limits import current_limits, current_usage, queue_state
from queueing.models import QueueEntry, QueueEntryQuerySet
from queueing.policy import Candidate, Limits, Usage, in_queue_order
from queueing.statuses import EntryStatus

#: Estimates further behind would cost much and mean little.
MAX_ENTRIES_READ = 1000
#: With fair share a list is sorted this far; entries behind follow by turn.
MAX_ENTRIES_SORTED = 500
COLUMNS = ("pk", "user_id", "organization_id", "provider", "turn", "not_before")


class QueueOrder:
    """The present order. It is read once for a page, and no further than MAX_ENTRIES_READ."""

    def __init__(self, limits: Limits, usage: Usage, now: datetime) -> None:
        waiting = QueueEntry.objects.filter(status=EntryStatus.PENDING)
        self._is_fair = limits.fair_share
        # A fair share depends on all entries; the order by turn is in an index.
        rows = waiting.values_list(*COLUMNS) if self._is_fair else _by_turn(waiting)
        ordered = list(in_queue_order([Candidate(*row) for row in rows], usage, limits, now))
        self.front = ordered[:MAX_ENTRIES_READ]
        self._positions = {candidate.entry_id: number for number, candidate in enumerate(ordered, start=1)}

    def positions(self, entry_ids: Sequence[int]) -> dict[int, int]:
        """Return the positions of waiting entries, from 1; held and ended entries are left out."""
        positions = {pk: self._positions[pk] for pk in entry_ids if pk in self._positions}
        is_complete = self._is_fair or len(self._positions) < MAX_ENTRIES_READ
        return positions if is_complete else {**_numbered([pk for pk in entry_ids if pk not in positions]), **positions}

    def in_order(self, entries: QueueEntryQuerySet) -> QueueEntryQuerySet:
        return _in_fair_order(entries, self.front[:MAX_ENTRIES_SORTED]) if self._is_fair else entries.in_order()


def _by_turn(waiting: QueueEntryQuerySet) -> Any:
    return waiting.in_order().values_list(*COLUMNS)[:MAX_ENTRIES_READ]


def _numbered(entry_ids: Sequence[int]) -> dict[int, int]:
    if len(entry_ids) < 2:
        # Those who ask for one entry must not number the whole queue.
        found = ((entry.pk, _number_of_one(entry)) for entry in QueueEntry.objects.filter(pk__in=entry_ids))
        return {pk: position for pk, position in found if position is not None}
    ordered = QueueEntry.objects.filter(status=EntryStatus.PENDING).annotate(
        position=Window(RowNumber(), order_by=[F("turn").asc(), F("id").asc()])
    )
    # A plain filter by id would be applied before the numbering, which would then number these rows alone; a condition
    # on the number is applied after it.
    is_among = Q(pk__in=entry_ids) | Q(position__lt=1)
    return dict(ordered.filter(is_among).values_list("pk", "position"))


def _number_of_one(entry: QueueEntry) -> int | None:
    if entry.status != EntryStatus.PENDING:
        return None
    earlier = Q(turn__lt=entry.turn) | Q(turn=entry.turn, pk__lt=entry.pk)
    return QueueEntry.objects.filter(earlier, status=EntryStatus.PENDING).count() + 1


def _in_fair_order(entries: QueueEntryQuerySet, front: Sequence[Candidate]) -> QueueEntryQuerySet:
    cases = [When(pk=candidate.entry_id, then=Value(number)) for number, candidate in enumerate(front)]
    # Running entries come first, and entries too far behind come last, by turn.
    is_running = When(~Q(status__in=(EntryStatus.PENDING, EntryStatus.BLOCKED)), then=Value(-1))
    position = Case(is_running, *cases, default=Value(len(front)), output_field=IntegerField())
    return entries.annotate(position=position).order_by("position", "turn", "id")


def current_order() -> QueueOrder:
    return QueueOrder(current_limits(queue_state()), current_usage(), timezone.now())


def position_of(entry: QueueEntry) -> int | None:
    """Return the position of an entry, from 1; None: it doesn't wait. For callers that need nothing else."""
    if entry.status == EntryStatus.PENDING and queue_state().fair_share:
        return current_order().positions([entry.pk]).get(entry.pk)
    return _number_of_one(entry)


def queue_in_order(entries: QueueEntryQuerySet) -> QueueEntryQuerySet:
    """Return `entries` in the order in which they go, the running ones first."""
    return current_order().in_order(entries) if queue_state().fair_share else entries.in_order()
