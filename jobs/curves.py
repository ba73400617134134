"""The figures in a job's log, step by step: each process reads each line once, however many look and however often."""

from __future__ import annotations

import threading
from collections import OrderedDict

from jobs import logs
from jobs.models import Job
from jobs.providers.progress import Series

#: Of a longer log, the figures are read from its beginning only.
MAX_BYTES = 40_000_000
#: What is remembered in all, at sixteen bytes each; of one log always, as long as it is the last one.
MAX_POINTS = 1_000_000
MAX_LOGS = 256
#: How much of what was read is compared with what stands in its place now.
COMPARED_CHARACTERS = 200
#: A line that is longer than this is taken as it is.
MAX_LINE_CHARACTERS = 64_000

Curves = dict[str, list[tuple[int, float]]]


class Reading:
    """A log, as far as it was read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.series = Series()
        self.offset = 0
        #: The line that was being written.
        self.unfinished = ""
        #: What was read last, to know it by.
        self.last_read = ""

    def update(self, job: Job) -> Curves:
        """Read what is new, or all of it when it is another log by now."""
        if self.offset and not self._is_same_log(job):
            self.reset()
        while self.offset < MAX_BYTES and self._read_piece(job):
            pass
        return self.series.points(self.unfinished)

    def _is_same_log(self, job: Job) -> bool:
        """Whether what was read last stands where it stood. Where nothing can be read now, it is taken to."""
        size = len(self.last_read.encode())
        start = self.offset - size
        piece = logs.read_log(job, start=start, limit=size)
        is_notice = bool(piece.text) and piece.end == piece.start
        return is_notice or (piece.start == start and piece.text.startswith(self.last_read))

    def _read_piece(self, job: Job) -> bool:
        """Read the next piece. False: there is none, or it can't be read now."""
        piece = logs.read_log(job, start=self.offset)
        if piece.start != self.offset or piece.end <= piece.start:
            return False
        self.offset = piece.end
        self._append(piece.text)
        return True

    def _append(self, text: str) -> None:
        end_of_text = (self.last_read + text)[-COMPARED_CHARACTERS:]
        text = self.unfinished + text
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        if len(text) - end > MAX_LINE_CHARACTERS:
            end = len(text)
        if end:
            self.series.read(text[:end])
        self.unfinished = text[end:]
        # Behind what is no text: how many bytes that had can't be told any more. From the beginning of a line, if there
        # is one: a secret that is blotted out would not be known by its second half.
        known = end_of_text.rpartition("\ufffd")[2]
        self.last_read = known.partition("\n")[2] or known


_readings: OrderedDict[str, Reading] = OrderedDict()
_lock = threading.Lock()


def curves_of(job: Job) -> Curves:
    """Loss, learning rate and validation loss by step, as `read_series` reads them from the whole log."""
    with _lock:
        reading = _readings.setdefault(job.pk, Reading())
        _readings.move_to_end(job.pk)
    # Who asks at the same moment waits, and then finds it read.
    with reading.lock:
        curves = reading.update(job)
    _evict()
    return curves


def _evict() -> None:
    with _lock:
        points = sum(len(reading.series) for reading in _readings.values())
        while len(_readings) > MAX_LOGS or (points > MAX_POINTS and len(_readings) > 1):
            points -= len(_readings.popitem(last=False)[1].series)
