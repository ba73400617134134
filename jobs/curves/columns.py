"""One curve: values by step, thinned so that its extremes stay. Pure."""

from __future__ import annotations

import math
from array import array
from bisect import bisect
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[int, float]

#: Of a curve this many points are kept at least, where the log has them, and about twice as many at most: more than any
#: screen shows. The curves of 40 MB of log, all of 800,000 points, were 15 MB of JSON and 450 MB of memory.
MAX_POINTS = 5_000
#: Four points, neighbours, become the lowest and the highest of them.
MERGED = 4


class Column:
    """Values by step, in sixteen bytes each. Of many the lowest and the highest of each piece are kept."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        #: How many values each two points stand for; 1: every value is a point.
        self._piece = 1
        #: The values of the piece that isn't full.
        self._open: list[Point] = []
        self._first: Point | None = None
        self._last: Point | None = None

    def __len__(self) -> int:
        return len(self.steps) + len(self._open)

    @property
    def last_step(self) -> int:
        """The last step; -1 when there is none."""
        return self._last[0] if self._last else -1

    def add(self, values: dict[int, float]) -> None:
        """Add values by step; a later value replaces an earlier one."""
        if not values:
            return
        if self._last and min(values) <= self._last[0]:
            values = dict(self.points()) | values
            self._reset()
        points = sorted(values.items())
        if self._piece == 1 and len(self.steps) + len(points) <= 2 * MAX_POINTS:
            self._extend(points)
            return
        for point in points:
            self._append(point)

    def _extend(self, points: list[Point]) -> None:
        """Add points while each is kept."""
        self._first, self._last = self._first or points[0], points[-1]
        self.steps.extend(step for step, _ in points)
        self.values.extend(value for _, value in points)

    def points(self, more: dict[int, float] | None = None) -> list[Point]:
        """Return the points in the order of their steps, the first and the last value always among them."""
        points = list(zip(self.steps, self.values, strict=True)) + extremes(self._open)
        if self._first and points[0] != self._first:
            points.insert(0, self._first)
        if self._last and points[-1] != self._last:
            points.append(self._last)
        return sorted((dict(points) | more).items()) if more else points

    def _append(self, point: Point) -> None:
        self._first, self._last = self._first or point, point
        self._open.append(point)
        if len(self._open) < self._piece:
            return
        for step, value in extremes(self._open):
            self.steps.append(step)
            self.values.append(value)
        self._open.clear()
        if len(self.steps) > 2 * MAX_POINTS:
            self._thin()

    def _thin(self) -> None:
        points = list(zip(self.steps, self.values, strict=True))
        kept = [point for first in range(0, len(points), MERGED) for point in extremes(points[first : first + MERGED])]
        self.steps = array("q", (step for step, _ in kept))
        self.values = array("d", (value for _, value in kept))
        self._piece = MERGED if self._piece == 1 else 2 * self._piece


class Gaps:
    """The steps whose value was NaN or infinite."""

    def __init__(self) -> None:
        #: 1 for such a step, 0 for one that was trained again and had a number.
        self._column = Column()

    def add(self, values: dict[int, float]) -> None:
        """Add values by step; a later value replaces an earlier one."""
        self._column.add(self._marks(values))

    def steps(self, more: dict[int, float]) -> list[int]:
        """Return the steps in their order, with those of `more`, which is not stored."""
        return [step for step, mark in self._column.points(self._marks(more)) if mark]

    def _marks(self, values: dict[int, float]) -> dict[int, float]:
        last = self._column.last_step
        marks = {step: float(not math.isfinite(value)) for step, value in values.items()}
        return {step: mark for step, mark in marks.items() if mark or step <= last}


def ranges(steps: Sequence[int], points: Sequence[Point]) -> list[tuple[int, int]]:
    """Return the first and the last of those `steps` that have none of `points` between them."""
    found: list[tuple[int, int]] = []
    numbers = [step for step, _ in points]
    before = -1
    for step in steps:
        position = bisect(numbers, step)
        if found and position == before:
            found[-1] = (found[-1][0], step)
        else:
            found.append((step, step))
        before = position
    return found


def extremes(points: Sequence[Point]) -> list[Point]:
    """Return the lowest and the highest of some neighbours, in the order of their steps."""
    if len(points) < 2:
        return list(points)
    low, high = min(points, key=_value), max(points, key=_value)
    return [low] if low[1] == high[1] else sorted((low, high))


def thinned(points: Sequence[Point], at_most: int) -> list[Point]:
    """Return at most so many points (no less than 4): the first, the last, and the extremes of pieces between them."""
    if len(points) <= at_most:
        return list(points)
    pieces = (at_most - 2) // 2
    inner = points[1:-1]
    edges = [len(inner) * number // pieces for number in range(pieces + 1)]
    kept = [point for first, end in pairwise(edges) for point in extremes(inner[first:end])]
    return [points[0], *kept, points[-1]]


def _value(point: Point) -> float:
    return point[1]
