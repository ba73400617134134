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
from dataclasses import dataclass

from jobs.providers import log_lines
from jobs.providers.log_lines import Count

LINE_LIMIT = 1000
LAST_LOG_LIMIT = 80
SERIES = ("loss", "learning_rate", "validation_loss")

ANSI = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])")
# A NUL, for one, is a character that PostgreSQL refuses to store.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a training. A field is None when no line gave it.

    percent is 0..100, computed from step and total, or from epoch and epochs while no step is known. eta_seconds is the
    trainer's own estimate. last_log is at most 80 characters.
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


def read_progress(text: str, *, before: Progress | None = None) -> Progress:
    """Read a piece of log. Figures that it lacks are taken from `before`.

    The last line with a figure wins. A loss that isn't a finite number reads as None, since keeping the older figure
    would make a diverged training look healthy. Never raises.
    """
    known = before or Progress()
    log = Log(text)
    count = _last_count(log, known)
    epoch, epochs = _last_epoch(log, known)
    percent = _percent(epoch, epochs) if count.step is None else _percent(count.step, count.total)
    return Progress(
        stage=_last_stage(log, count.total) or known.stage,
        percent=known.percent if percent is None else percent,
        step=count.step,
        total=count.total,
        epoch=epoch,
        epochs=epochs,
        loss=_last_loss(log, known.loss),
        learning_rate=_last_learning_rate(log, known.learning_rate),
        eta_seconds=count.eta_seconds,
        last_log=log.last_line() or known.last_log,
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
        self._seen = Count(weak=True)

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
    """Values by step, in sixteen bytes each."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")

    def add(self, values: dict[int, float]) -> None:
        """Add values by step; a later value replaces an earlier one."""
        if not values:
            return
        if self.steps and min(values) <= self.steps[-1]:
            values = dict(zip(self.steps, self.values, strict=True)) | values
            self.steps, self.values = array("q"), array("d")
        for step, value in sorted(values.items()):
            self.steps.append(step)
            self.values.append(value)

    def points(self, more: dict[int, float]) -> list[tuple[int, float]]:
        known = zip(self.steps, self.values, strict=True)
        return sorted((dict(known) | more).items()) if more else list(known)


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
        present = [mark for mark in marks if mark in self.text]
        for line in reversed(self.lines) if present else ():
            for mark in present:
                if mark in line:
                    yield line
                    break

    def last_line(self) -> str | None:
        """Return the last line with visible text, as it was written, cut to 80 characters."""
        for written in reversed(self.written):
            line = CONTROL.sub("", written[:LINE_LIMIT]).rstrip() if written else ""
            if line:
                return line if len(line) <= LAST_LOG_LIMIT else line[: LAST_LOG_LIMIT - 3] + "..."
        return None


def _last_stage(log: Log, total: int | None) -> str | None:
    marked = log.marked("%|", "step", "epoch", *log_lines.STAGE_MARKS, *log_lines.TRAINING_WORDS)
    return next(filter(None, (log_lines.read_stage(line, total) for line in marked)), None)


def _last_count(log: Log, known: Progress) -> Count:
    """Return the last step and total. Counts are collected from the end, then accepted or not in the log's order."""
    seen = Count(known.step, known.total, known.eta_seconds, weak=True)
    for count in reversed(_counts(log, known.total)):
        seen = _later(count, seen) if _fits(count, seen) else seen
    return seen


def _counts(log: Log, total: int | None) -> list[Count]:
    """Return counts from the end of the log, as many as it takes to be sure of the step and its total."""
    counts: list[Count] = []
    # Of many unnamed bars with the same total only the last matters; the older ones are skipped unread.
    skipped = "\n"
    for line in log.marked("%|", "step"):
        count = None if skipped in line else log_lines.read_count(line)
        if count is None:
            continue
        counts.append(count)
        if count.weak:
            skipped = f"/{count.total} ["
        if count.step is not None and count.total and (not count.weak or count.total == total):
            break
    return counts


def _fits(count: Count, seen: Count) -> bool:
    """Return whether a count is the training's: a weak one is not if its total contradicts the known one.

    If the known one is weak as well, the longer bar is taken for the training's.
    """
    if not count.weak or seen.total is None or count.total == seen.total:
        return True
    return seen.weak and count.total is not None and count.total > seen.total


def _later(count: Count, seen: Count) -> Count:
    return Count(
        step=seen.step if count.step is None else count.step,
        total=count.total or seen.total,
        eta_seconds=seen.eta_seconds if count.eta_seconds is None else count.eta_seconds,
        weak=count.weak if count.total else seen.weak,
    )


def _last_epoch(log: Log, known: Progress) -> tuple[float | None, int | None]:
    epoch = None
    for line in log.marked("epoch"):
        parsed = log_lines.read_epoch(line)
        if parsed is None:
            continue
        epoch = parsed[0] if epoch is None else epoch
        if parsed[1]:
            return epoch, parsed[1]
    return known.epoch if epoch is None else epoch, known.epochs


def _percent(done: float | None, total: int | None) -> float | None:
    if done is None or not total:
        return None
    return round(min(100.0, 100 * done / total), 2)


def _last_loss(log: Log, known: float | None) -> float | None:
    for line in log.marked("loss"):
        loss, _ = log_lines.read_losses(line)
        if loss is not None:
            return loss if math.isfinite(loss) else None
    return known


def _last_learning_rate(log: Log, known: float | None) -> float | None:
    for line in log.marked("lr", "learning"):
        rate = log_lines.read_learning_rate(line)
        if rate is not None:
            return rate if math.isfinite(rate) else None
    return known
