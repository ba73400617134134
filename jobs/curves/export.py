"""The curves of a job as a table: a row for each step, a column for each figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.curves.series import Curves

NOT_FINITE = "nan"


def columns_of(curves: Curves) -> list[str]:
    """Return the names of the columns: the step, the seconds since the training began, and each figure."""
    return ["step", "seconds", *_names(curves)]


def rows_of(curves: Curves) -> Iterator[list[Any]]:
    """Yield the rows in the order of the steps. A cell is empty where the log has no figure, and "nan" at both ends of
    a gap."""
    columns = [dict(curves.seconds), *(_cells(curves, name) for name in _names(curves))]
    for step in sorted(set().union(*columns[1:])):
        yield [step, *(column.get(step, "") for column in columns)]


def _names(curves: Curves) -> list[str]:
    return list(dict.fromkeys([*(name for name, points in curves.series.items() if points), *curves.gaps]))


def _cells(curves: Curves, name: str) -> dict[int, Any]:
    ends = {step: NOT_FINITE for gap in curves.gaps.get(name, ()) for step in gap}
    return ends | dict(curves.series.get(name, ()))
