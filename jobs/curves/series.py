"""All curves of one log. Pure: text in, values out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.curves.columns import Column, Gaps, Point, ranges
from jobs.curves.line_figures import LEARNING_RATE, LOSS, read_figures, read_moment
from jobs.providers import log_lines
from jobs.providers.log_lines import UNNAMED, Count
from jobs.providers.progress import Log, fits, later

#: Of more names the first ones in the log have curves: a log may have as many as lines.
MAX_NAMES = 40


@dataclass(frozen=True, slots=True)
class Curves:
    """Figures by name, each as pairs of step and value in the order of the steps.

    "loss" and "learning_rate" are always there, be they empty.
    """

    series: dict[str, list[Point]]
    #: The seconds since the training began, by step, as the log tells them; empty for a log without times.
    seconds: list[Point] = field(default_factory=list)
    #: By name, the first and the last step of what was no finite number.
    gaps: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class Clock:
    """The seconds of a training, from the times of its log: the bars' own where there are any, else those of lines."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._has_bars = False
        self._offset: float | None = None
        self._last = 0.0

    def read(self, line: str, elapsed: float | None) -> float | None:
        """Return the seconds from the first time to that of `line`, whose bar has `elapsed`; None when it has none."""
        if elapsed is None:
            return None if self._has_bars else self._at(read_moment(line))
        if not self._has_bars:
            self._has_bars = True
            self._offset = 0.0 if self._offset is None else self.seconds - elapsed
            self._last = elapsed
        return self._at(elapsed)

    def _at(self, time: float | None) -> float | None:
        if time is None:
            return None
        # A training that was resumed has a new bar, which begins at zero; a clock may be set back.
        if self._offset is None or time < self._last:
            self._offset = self.seconds - time
        self._last = time
        self.seconds = time + self._offset
        return self.seconds

    def copy(self) -> Clock:
        clock = Clock()
        clock.__dict__.update(self.__dict__)
        return clock


def read_series(text: str) -> Curves:
    """Read every figure of a log by training step, see `line_figures`.

    One point a step: the last one in the log, also when a resumed training repeats steps. Values that aren't finite are
    gaps. A line with a value but no step belongs to the last step before it.
    """
    return Series().curves(text)


class Series:
    """The incremental form of `read_series`, for a log that comes in pieces."""

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {LOSS: Column(), LEARNING_RATE: Column()}
        self._gaps: dict[str, Gaps] = {}
        self._seconds = Column()
        self._clock = Clock()
        self._seen = Count(sureness=UNNAMED)

    def __len__(self) -> int:
        return len(self._seconds) + sum(len(column) for column in self._columns.values())

    def read(self, text: str) -> None:
        """Read whole lines, in the order in which they were written."""
        piece = _Piece(self._seen, self._clock)
        piece.read(text)
        self._seen = piece.seen
        self._seconds.add(piece.seconds)
        for name, values in piece.values.items():
            if name not in self._columns and len(self._columns) >= MAX_NAMES:
                continue
            self._columns.setdefault(name, Column()).add(_finite(values))
            self._gaps.setdefault(name, Gaps()).add(values)

    def curves(self, unfinished: str = "") -> Curves:
        """Return everything, with what is in `unfinished`: a line that is still being written, and is not stored."""
        piece = _Piece(self._seen, self._clock.copy())
        piece.read(unfinished)
        new = [name for name in piece.values if name not in self._columns][: MAX_NAMES - len(self._columns)]
        series: dict[str, list[Point]] = {}
        gaps: dict[str, list[tuple[int, int]]] = {}
        for name in (*self._columns, *new):
            values = piece.values.get(name, {})
            points = self._columns.get(name, Column()).points(_finite(values))
            if steps := self._gaps.get(name, Gaps()).steps(values):
                lost = set(steps)
                points = [point for point in points if point[0] not in lost]
                gaps[name] = ranges(steps, points)
            if points or name in (LOSS, LEARNING_RATE):
                series[name] = points
        return Curves(series, self._seconds.points(piece.seconds), gaps)


class _Piece:
    """The figures of a piece of log that follows the count `seen`: values by name and step, seconds by step."""

    def __init__(self, seen: Count, clock: Clock) -> None:
        self.seen = seen
        self.values: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self.seconds: dict[int, float] = {}
        self._clock = clock

    def read(self, text: str) -> None:
        for line, count in self._training_lines(text):
            step = self.seen.step
            if step is None:
                continue
            figures, elapsed = read_figures(line, count)
            if count and count.step is not None and (time := self._clock.read(line, elapsed)) is not None:
                self.seconds[step] = time
            for name, value in figures.items():
                self.values[name][step] = value

    def _training_lines(self, text: str) -> Iterator[tuple[str, Count | None]]:
        for line in Log(text).lines if text else ():
            count = log_lines.read_count(line)
            if count and not fits(count, self.seen):
                continue
            self.seen = later(count, self.seen) if count else self.seen
            yield line, count


def _finite(values: dict[int, float]) -> dict[int, float]:
    return {step: value for step, value in values.items() if math.isfinite(value)}
