"""Parsing of a trainer's log: its stage and its progress. Its curves: `jobs/curves/`.

Text in, values out; nothing is fetched and nothing raises. The work grows linearly with the text. Each question (which
stage, which step, which loss) looks from the end of the log at the lines that hold one of its marks, and stops at the
first answer. Plain substrings are tried first because a pattern costs a hundred times as much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.providers import log_lines
from jobs.providers.log_lines import LEARNING, NAMED, SURE, UNNAMED, Count

LINE_LIMIT = 1000
LAST_LOG_LIMIT = 80

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
    percent = percent_of(count.step, count.total)
    percent = percent_of(epoch, epochs) if percent is None else percent
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
        if fits(count, seen):
            seen = later(count, seen)
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


def fits(count: Count, seen: Count) -> bool:
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


def later(count: Count, seen: Count) -> Count:
    """Return what is known after a count that fits."""
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


def percent_of(done: float | None, total: int | None) -> float | None:
    """Return 0 to 100; None where a figure is missing."""
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
