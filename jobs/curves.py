"""The figures in a job's log, step by step: each process reads each line once, however many look and however often."""

from __future__ import annotations

import threading
from collections import OrderedDict

from jobs import logs
from jobs.models import Job
from jobs.progress import Series

#: Of a longer log, the figures are read from its beginning only.
LIMIT_BYTES = 40_000_000
#: What is remembered in all, at sixteen bytes each; of one log always, as long as it is the last one.
KEPT_POINTS = 1_000_000
KEPT_LOGS = 256
#: How much of what was read is compared with what stands in its place now.
COMPARED_CHARACTERS = 200
#: A line that is longer than this is taken as it is.
LINE_CHARACTERS = 64_000

Curves = dict[str, list[tuple[int, float]]]


class Reading:
    """A log, as far as it was read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begin_again()

    def begin_again(self) -> None:
        self.series = Series()
        self.offset = 0
        #: The line that was being written.
        self.unfinished = ""
        #: What was read last, to know it by.
        self.last = ""

    def go_on(self, job: Job) -> Curves:
        """Read what is new, or all of it when it is another log by now."""
        while self.offset < LIMIT_BYTES and self._read_piece(job):
            pass
        return self.series.told(self.unfinished)

    def _read_piece(self, job: Job) -> bool:
        """Read the next piece. False: there is none, or it can't be read now."""
        known = len(self.last.encode())
        start = self.offset - known
        piece = logs.read_log(job, start=start, limit=logs.READ_LIMIT_BYTES + known)
        if piece.text and piece.end == piece.start:
            return False  # only a word about why
        if piece.start != start or not piece.text.startswith(self.last):
            self.begin_again()
            return True
        text = piece.text[len(self.last) :]
        self.offset = piece.end
        self._take(text, piece.text)
        return bool(text)

    def _take(self, text: str, seen: str) -> None:
        text = self.unfinished + text
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        if len(text) - end > LINE_CHARACTERS:
            end = len(text)
        if end:
            self.series.read(text[:end])
        self.unfinished = text[end:]
        # Behind what is no text: how many bytes that had can't be told any more.
        self.last = seen[-COMPARED_CHARACTERS:].rpartition("\ufffd")[2]


_readings: OrderedDict[str, Reading] = OrderedDict()
_lock = threading.Lock()


def curves_of(job: Job) -> Curves:
    """Loss, learning rate and validation loss by step, as `jobs.progress.read_series` reads them from the whole log."""
    with _lock:
        reading = _readings.setdefault(job.pk, Reading())
        _readings.move_to_end(job.pk)
    # Who asks at the same moment waits, and then finds it read.
    with reading.lock:
        curves = reading.go_on(job)
    _forget_old()
    return curves


def _forget_old() -> None:
    with _lock:
        points = sum(len(reading.series) for reading in _readings.values())
        while len(_readings) > KEPT_LOGS or (points > KEPT_POINTS and len(_readings) > 1):
            points -= len(_readings.popitem(last=False)[1].series)
