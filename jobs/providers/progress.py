"""Parsing of a trainer's log: its stage, its progress, its figures.

Text in, values out; nothing is fetched and nothing raises. The work grows linearly with the text. Each question (which
stage, which step, which loss) looks from the end of the log at the lines that hold one of its marks, and stops at the
first answer. Plain substrings are tried first because a pattern costs a hundred times as much.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.providers import log_lines
from jobs.providers.log_lines import LEARNING, NAMED, SURE, UNNAMED, Count

LINE_LIMIT = 1000
LAST_LOG_LIMIT = 80
SERIES = ("loss", "learning_rate", "validation_loss")
#: Of a curve this many points are kept at least, where the log has them, and twice as many at most: more than any
#: screen shows. The curves of 40 MB of log, all of 800,000 points, were 15 MB of JSON and 450 MB of memory.
MAX_POINTS = 5_000

ANSI = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])")
# A NUL, for one, is a character that PostgreSQL refuses to store.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a training. A field is None when no line gave it.

    percent is 0..100, computed from step and total, or from epoch and epochs while these are not known. eta_seconds is
    the trainer's own estimate. last_log is at most 80 characters. sureness is the one of the total, for the next piece.
    """

    stage: str | None = None
    percent: float | None = None
    step: int | None = None
    total: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    eta_seconds: int | None = None
    last_log: str | None = None
    sureness: int = field(default=UNNAMED, compare=False, repr=False)


def read_progress(text: str, *, before: Progress | None = None) -> Progress:
    """Read a piece of log. Figures that it lacks are taken from `before`.

    The last line with a figure wins. A loss that isn't a finite number reads as None, since keeping the older figure
    would make a diverged training look healthy. Never raises.
    """
    previous = before or Progress()
    log = Log(text)
    count, bar_line = _last_count(log, previous)
    epoch, epochs = _last_epoch(log, previous)
    percent = _percent(count.step, count.total)
    percent = _percent(epoch, epochs) if percent is None else percent
    return Progress(
        stage=_last_stage(log, bar_line) or previous.stage,
        percent=previous.percent if percent is None and previous.step is None else percent,
        step=count.step,
        total=count.total,
        epoch=epoch,
        epochs=epochs,
        loss=_last_loss(log, previous.loss),
        learning_rate=_last_learning_rate(log, previous.learning_rate),
        eta_seconds=count.eta_seconds,
        last_log=log.last_line() or previous.last_log,
        sureness=count.sureness,
    )


def read_series(text: str) -> dict[str, list[tuple[int, float]]]:
    """Read "loss", "learning_rate" and, where there is any, "validation_loss" by training step.

    The points are ordered by step, one a step: the last one in the log, also when a resumed training repeats steps.
    Values that aren't finite are left out. A line with a value but no step belongs to the last step before it.
    """
    return Series().points(text)


class Series:
    """The incremental form of `read_series`, for a log that comes in pieces."""

    def __init__(self) -> None:
        self._columns = {name: Column() for name in SERIES}
        self._seen = Count(sureness=UNNAMED)

    def read(self, text: str) -> None:
        """Read whole lines, in the order in which they were written."""
        points, self._seen = _points_in(text, self._seen)
        for name, values in points.items():
            self._columns[name].add(values)

    def points(self, unfinished: str = "") -> dict[str, list[tuple[int, float]]]:
        """Return all points, with those of `unfinished`: a line that is still being written, and is not stored."""
        unfinished_points, _ = _points_in(unfinished, self._seen)
        points = {name: column.points(unfinished_points[name]) for name, column in self._columns.items()}
        if not points["validation_loss"]:
            del points["validation_loss"]
        return points

    def __len__(self) -> int:
        return sum(len(column.steps) for column in self._columns.values())


class Column:
    """Values by step, in sixteen bytes each. Of more than 2 * MAX_POINTS every second one is dropped, and so on."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        #: Every so many-th value is kept, and the last one.
        self._stride = 1
        self._count = 0
        self._last: tuple[int, float] | None = None

    def add(self, values: dict[int, float]) -> None:
        """Add values by step; a later value replaces an earlier one."""
        if not values:
            return
        if self._last and min(values) <= self._last[0]:
            values = dict(self.points({})) | values
            self.steps, self.values, self._count = array("q"), array("d"), 0
            self._stride = 1  # of those that are left
        for step, value in sorted(values.items()):
            if self._count % self._stride == 0:
                self.steps.append(step)
                self.values.append(value)
            self._count += 1
        self._last = (step, value)
        while len(self.steps) > 2 * MAX_POINTS:
            self.steps, self.values = self.steps[::2], self.values[::2]
            self._stride *= 2

    def points(self, more: dict[int, float]) -> list[tuple[int, float]]:
        points = list(zip(self.steps, self.values, strict=True))
        if self._last and points[-1] != self._last:
            points.append(self._last)
        return sorted((dict(points) | more).items()) if more else points


def _points_in(text: str, seen: Count) -> tuple[dict[str, dict[int, float]], Count]:
    """Return the figures of `text`, which follows the count `seen`, and the last count in it."""
    points: dict[str, dict[int, float]] = {name: {} for name in SERIES}
    for line in Log(text).lines if text else ():
        count = log_lines.read_count(line)
        if count and not _fits(count, seen):
            continue
        seen = _later(count, seen) if count else seen
        if seen.step is not None and ("loss" in line or "lr" in line or "learning" in line):
            _add_points(line, seen.step, points)
    return points, seen


def _add_points(line: str, step: int, points: dict[str, dict[int, float]]) -> None:
    loss, validation = log_lines.read_losses(line)
    rate = log_lines.read_learning_rate(line)
    for name, value in (("loss", loss), ("learning_rate", rate), ("validation_loss", validation)):
        if value is not None and math.isfinite(value):
            points[name][step] = value


class Log:
    def __init__(self, text: str) -> None:
        plain = ANSI.sub("", text) if "\x1b" in text else text
        # Not splitlines(): a form feed or a Unicode separator doesn't end a line of a log.
        self.written = plain.replace("\r", "\n").split("\n")
        self.text = plain.lower()
        self.lines = [line[:LINE_LIMIT] for line in self.text.replace("\r", "\n").split("\n")]

    def marked(self, *marks: str) -> Iterator[str]:
        """Yield the lines that hold one of the marks, last first, in lower case and of bounded length."""
        return (line for _, line in self.numbered(*marks))

    def numbered(self, *marks: str) -> Iterator[tuple[int, str]]:
        """Yield these lines with their numbers, from 0."""
        present = [mark for mark in marks if mark in self.text]
        number = len(self.lines)
        for line in reversed(self.lines) if present else ():
            number -= 1
            for mark in present:
                if mark in line:
                    yield number, line
                    break

    def last_line(self) -> str | None:
        """Return the last line with visible text, as it was written, cut to 80 characters."""
        for written in reversed(self.written):
            line = CONTROL.sub("", written[:LINE_LIMIT]).rstrip() if written else ""
            if line:
                return line if len(line) <= LAST_LOG_LIMIT else line[: LAST_LOG_LIMIT - 3] + "..."
        return None


def _last_stage(log: Log, bar_line: int) -> str | None:
    """Return the last stage. `bar_line`: the number of the last line whose bar was taken for the training's, or -1."""
    marks = ("%|", "% ", "step", "iter", "epoch", *log_lines.STAGE_MARKS, *log_lines.TRAINING_WORDS)
    for number, line in log.numbered(*marks):
        stage = log_lines.TRAINING if number <= bar_line else log_lines.read_stage(line)
        if stage:
            return stage
    return None


def _last_count(log: Log, previous: Progress) -> tuple[Count, int]:
    """Return the last step and total, and the line of the last bar that was accepted though it isn't sure.

    Counts are collected from the end, then accepted or not in the log's order.
    """
    seen, bar_line = Count(previous.step, previous.total, previous.eta_seconds, previous.sureness), -1
    for number, count in reversed(_counts(log)):
        if _fits(count, seen):
            seen = _later(count, seen)
            bar_line = bar_line if count.sureness == SURE else number
    return seen, bar_line


def _counts(log: Log) -> list[tuple[int, Count]]:
    """Return counts from the end of the log, as many as it takes to be sure of the step and its total."""
    counts: list[tuple[int, Count]] = []
    bar = SameBar()
    for number, line in log.numbered("%|", "% ", "step", "iter"):
        count = None if bar.adds_nothing(line) else log_lines.read_count(line)
        if count is None:
            continue
        counts.append((number, count))
        if count.sureness == SURE and count.step is not None and count.total:
            break
        bar = SameBar(line, count)
    return counts


class SameBar:
    """Of many bars with one name and total only the last matters; the older ones are skipped unread."""

    def __init__(self, line: str = "", count: Count | None = None) -> None:
        self.counted = f"/{count.total} [" if count and count.sureness != SURE else "\n"
        self.name = self._name(line)
        self.is_learning = count is not None and count.sureness == LEARNING

    def adds_nothing(self, line: str) -> bool:
        if self.counted not in line or self._name(line) != self.name:
            return False
        return self.is_learning or ("lr" not in line and "learning" not in line)

    @staticmethod
    def _name(line: str) -> str:
        return line[: line.find("%")].rstrip(" .,0123456789")


def _fits(count: Count, seen: Count) -> bool:
    """Return whether a count is the training's: a less sure one is not if its total contradicts the known one.

    Of two that are equally sure the longer one is taken for the training's. A bar that shows no learning rate takes
    the place of another one only when it is longer, or surer and the other one is over.
    """
    if count.sureness == SURE or not seen.total or not count.total or count.total == seen.total:
        return True
    is_over, is_longer = seen.step == seen.total, count.total > seen.total
    if count.sureness > seen.sureness:
        return count.sureness == LEARNING or is_over or is_longer
    if count.sureness == seen.sureness:
        return is_longer
    return seen.sureness == NAMED and is_over and is_longer


def _later(count: Count, seen: Count) -> Count:
    if not count.total:
        return seen._replace(step=count.step)
    is_same = count.total == seen.total
    # The step of a bar that turned out to be another's is none of the training's.
    kept = seen.step if is_same or seen.sureness == SURE or seen.total is None else None
    return Count(
        step=kept if count.step is None else count.step,
        total=count.total,
        eta_seconds=count.eta_seconds,
        sureness=max(count.sureness, seen.sureness) if is_same else count.sureness,
    )


def _last_epoch(log: Log, previous: Progress) -> tuple[float | None, int | None]:
    epoch = None
    for line in log.marked("epoch"):
        parsed = log_lines.read_epoch(line)
        if parsed is None:
            continue
        epoch = parsed[0] if epoch is None else epoch
        if parsed[1]:
            return epoch, parsed[1]
    return previous.epoch if epoch is None else epoch, previous.epochs


def _percent(done: float | None, total: int | None) -> float | None:
    if done is None or not total:
        return None
    return round(min(100.0, 100 * done / total), 2)


def _last_loss(log: Log, previous: float | None) -> float | None:
    for line in log.marked("loss"):
        loss, _ = log_lines.read_losses(line)
        if loss is not None:
            return loss if math.isfinite(loss) else None
    return previous


def _last_learning_rate(log: Log, previous: float | None) -> float | None:
    for line in log.marked("lr", "learning"):
        rate = log_lines.read_learning_rate(line)
        if rate is not None:
            return rate if math.isfinite(rate) else None
    return previous
