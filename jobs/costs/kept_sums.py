"""Sums of days and months that are over, kept beside the rows that they add up.

Triggers mark a unit, which is a day or a month, whenever its rows change afterwards, whoever changes them. While it has
marks its sums may be wrong and nobody reads them; the upkeep adds it up again and removes the marks in one transaction.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, TypeVar

from django.db import IntegrityError
from django.db.models import Max, Model, Q, QuerySet

from cloudtrain_site.database.fast_sql import insert
from cloudtrain_site.database.unit_of_work import unit_of_work

Unit = TypeVar("Unit", date, str)
#: Marks that are looked at together.
MOST_CHANGES = 10_000
#: With more gaps between the units that are kept, all rows are read.
MOST_GAPS = 20


class _OvertakenError(Exception):
    """Rolls the sums back."""


@dataclass(frozen=True, slots=True)
class KeptSums(Generic[Unit]):
    """`field` names the unit in `model` and in `marks`. The rows `is_summed` say that their unit is added up."""

    model: type[Model]
    marks: type[Model]
    field: str
    is_summed: Q
    is_marked: Q
    #: The first unit that has rows; None: there are none.
    first: Callable[[], Unit | None]
    following: Callable[[Unit], Unit]
    #: Returns the sums of a unit, with the row that says so.
    add_up: Callable[[Unit], Sequence[Any]]

    def kept(self, start: Unit | None = None) -> list[Unit]:
        """Return the units from `start` on whose sums are true, in order."""
        # The marks are read first: a unit that is added up again meanwhile is read as it was, or as it is.
        changed = set(self._marks().order_by().values_list(self.field, flat=True).distinct())
        summed = self._summed() if start is None else self._summed().filter(**{f"{self.field}__gte": start})
        return [unit for unit in summed.order_by(self.field).values_list(self.field, flat=True) if unit not in changed]

    def keep(self, last: Unit, until: float) -> int:
        """Add up what lacks it or has changed, to the unit `last`, until the monotonic time. Returns how many."""
        count, before = 0, -1
        # Again for what has more marks; not when another process is ahead with all.
        while count > before and (due := list(self.due(last))):
            before = count
            for unit, changes in due:
                if time.monotonic() >= until:
                    return count
                count += self.store(unit, changes)
        return count

    def due(self, last: Unit) -> Iterator[tuple[Unit, list[int]]]:
        """Yield what is to be added up, the oldest first, each with the marks of its changes."""
        due: dict[Unit, list[int]] = defaultdict(list)
        changes = self._marks().filter(**{f"{self.field}__lte": last}).order_by("id")[:MOST_CHANGES]
        for pk, changed in changes.values_list("pk", self.field):
            due[changed].append(pk)
        newest = self._summed().aggregate(newest=Max(self.field))["newest"]
        unit = self.first() if newest is None else self.following(newest)
        while unit is not None and unit <= last:
            due.setdefault(unit, [])
            unit = self.following(unit)
        yield from sorted(due.items())

    def store(self, unit: Unit, changes: Sequence[int]) -> bool:
        """Add up the unit in place of its older sums. False: another process has just done it."""
        # The marks that were read before: what changes from here on has another mark.
        rows = self.add_up(unit)
        try:
            with unit_of_work():
                # The other has taken a mark, or made the sums, and read more changes.
                if self.marks._default_manager.filter(pk__in=changes).delete()[0] < len(changes):
                    raise _OvertakenError
                if changes:
                    self.model._default_manager.filter(**{self.field: unit}).delete()
                insert(rows)
        except (_OvertakenError, IntegrityError):
            return False
        return True

    def _marks(self) -> QuerySet[Any]:
        return self.marks._default_manager.filter(self.is_marked)

    def _summed(self) -> QuerySet[Any]:
        return self.model._default_manager.filter(self.is_summed)
