"""The shapes of the charts, for SVG: bars of stacked parts above a scale, and a bar of what is committed. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

#: The height of a chart in its own units; a bar and the gap beside it take a unit of the width.
HEIGHT = 100
STEPS = 4
GAP = 0.2
#: What a scale may end at, times a power of ten: a quarter of each is a round number.
ROUND = tuple(map(Decimal, ("1", "1.2", "1.6", "2", "2.4", "3.2", "4", "5", "6", "8", "10")))
LEAST_SCALE = Decimal("0.04")


@dataclass(frozen=True, slots=True)
class Scale:
    """From 0 to `top`."""

    top: Decimal

    @property
    def marks(self) -> list[Decimal]:
        """The numbers beside it, the highest first."""
        return [self.top * step / STEPS for step in range(STEPS, -1, -1)]

    def y(self, amount: Decimal) -> float:
        return HEIGHT - float(amount / self.top * HEIGHT)

    def line(self, amount: Decimal, width: int) -> str:
        """Return the path of a line across the chart."""
        return f"M0 {shown(self.y(amount))}h{width}"


def scale_for(highest: Decimal) -> Scale:
    """Return the smallest scale with round numbers that `highest` fits into."""
    highest = max(highest, LEAST_SCALE)
    power = Decimal(1).scaleb(highest.adjusted())
    return Scale(next(step * power for step in ROUND if step * power >= highest))


def bars(amounts: Sequence[Mapping[int, Decimal]], scale: Scale) -> list[tuple[int, str]]:
    """Return the path of each series: a rectangle for each of `amounts` that has some of it, on top of the others.

    What is below 0 has no height.
    """
    paths: dict[int, list[str]] = defaultdict(list)
    for place, one in enumerate(amounts):
        base = Decimal(0)
        for series, amount in sorted(one.items()):
            if amount > 0:
                paths[series].append(_rectangle(place, scale.y(base), scale.y(base + amount)))
                base += amount
    return [(series, "".join(paths[series])) for series in sorted(paths)]


def _rectangle(place: int, bottom: float, top: float) -> str:
    width = 1 - GAP
    return f"M{shown(place + GAP / 2)} {shown(bottom)}V{shown(top)}h{shown(width)}V{shown(bottom)}z"


def shown(number: float) -> str:
    """Return a number of SVG, whatever the language of the page."""
    return f"{number:.2f}"


@dataclass(frozen=True, slots=True)
class Committed:
    """The widths of what is spent and held in percent of the whole bar, and where the budget ends on it."""

    spent: str
    held: str
    held_from: str
    limit: str

    @property
    def is_over(self) -> bool:
        """Whether the budget ends before the bar does."""
        return self.limit != shown(HEIGHT)


def committed_bar(spent: Decimal, held: Decimal, amount: Decimal) -> Committed | None:
    """None: there is nothing to show. What is committed may be more than `amount`."""
    total = max(amount, spent + held)
    if total <= 0:
        return None
    width = float(max(spent, Decimal(0)) / total * 100)
    return Committed(shown(width), shown(float(held / total * 100)), shown(width), shown(float(amount / total * 100)))
