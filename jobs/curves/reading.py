"""The figures in a job's log, by step. Each process reads each line once, for any number of readers."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import replace

from jobs import logs
from jobs.configs.reading import read_config
from jobs.curves.line_figures import IMAGES_PER_SECOND, STEPS_PER_SECOND
from jobs.curves.series import Curves, Series
from jobs.models import Job

#: Of more that is new at once only SAMPLES pieces of SAMPLE_BYTES are read, from its beginning to its end.
MAX_BYTES = 20_000_000
SAMPLES = 28
SAMPLE_BYTES = 250_000
#: Of all logs together, at sixteen bytes each; the last log is always kept.
MAX_POINTS = 1_000_000
MAX_LOGS = 256
#: The length of the last text read, by which a replaced log is recognized.
COMPARED_CHARACTERS = 200
#: A longer line is read without waiting for its end.
MAX_LINE_CHARACTERS = 64_000

#: The rest of a line, with its end.
LINE_END = re.compile(r"\A[^\r\n]*(?:[\r\n]|\Z)")


class Reading:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.series = Series()
        self.offset = 0
        #: Whether what was read ends somewhere before `offset`, so that a part of a line comes first.
        self.has_skipped = False
        #: The line that was being written.
        self.unfinished = ""
        #: The last text read, by which the log is recognized.
        self.last_read = ""

    def update(self, job: Job) -> Curves:
        """Read what is new, or everything when the log was replaced. Returns all curves."""
        if self.offset and not self._is_same_log(job):
            self.reset()
        size = logs.size_of(job)
        if size - self.offset > MAX_BYTES:
            self._sample(job, size)
        end = self.offset + MAX_BYTES  # where the size can't be told
        while self.offset < end and self._read_piece(job):
            pass
        return self.series.curves(self.unfinished)

    def _sample(self, job: Job, size: int) -> None:
        """Read pieces of the log at equal distances, the last of which ends at `size`."""
        first, distance = self.offset, (size - SAMPLE_BYTES - self.offset) / (SAMPLES - 1)
        for number in range(SAMPLES):
            position = first + int(number * distance)
            if position > self.offset:
                self.offset, self.unfinished, self.last_read, self.has_skipped = position, "", "", True
            self._read_piece(job, limit=SAMPLE_BYTES)

    def _is_same_log(self, job: Job) -> bool:
        """Whether the last text read is still at its place. If nothing can be read now, it is taken to be."""
        size = len(self.last_read.encode())
        start = self.offset - size
        piece = logs.read_log(job, start=start, limit=size)
        is_notice = bool(piece.text) and piece.end == piece.start
        return is_notice or (piece.start == start and piece.text.startswith(self.last_read))

    def _read_piece(self, job: Job, limit: int | None = None) -> bool:
        """Read the next piece. False: there is none, or it can't be read now."""
        piece = logs.read_log(job, start=self.offset, limit=limit)
        # After a skip it begins with the next whole character.
        if (piece.start != self.offset and not self.has_skipped) or piece.end <= piece.start:
            return False
        self.offset = piece.end
        text = piece.text
        if self.has_skipped:
            text = LINE_END.sub("", text, count=1)
            self.has_skipped = not text
        self._append(text)
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
        # Only the text behind the last replacement character, whose number of bytes is unknown. From the beginning of a
        # line, if there is one: a masked secret would not be recognized by its second half.
        unread = end_of_text.rpartition("\ufffd")[2]
        self.last_read = unread.partition("\n")[2] or unread


_readings: OrderedDict[str, Reading] = OrderedDict()
_lock = threading.Lock()


def curves_of(job: Job) -> Curves:
    """Return every figure of the job's log by step, as `read_series` reads it, of images a second too.

    Each curve has at most some 10,000 points, the extremes among them; `columns.thinned` makes fewer.
    """
    with _lock:
        reading = _readings.setdefault(job.pk, Reading())
        _readings.move_to_end(job.pk)
    # Concurrent callers wait, and then find it read.
    with reading.lock:
        curves = reading.update(job)
    _evict()
    return _with_images(job, curves)


def _with_images(job: Job, curves: Curves) -> Curves:
    """Give the speed in images where the config says how many a step has, as trainers themselves seldom do."""
    steps = curves.series.get(STEPS_PER_SECOND)
    if not steps or IMAGES_PER_SECOND in curves.series:
        return curves
    reading = read_config(job.config)
    if reading.batch_size is None or "accumulation" in reading.doubts:
        return curves
    series = {name: points for name, points in curves.series.items() if name != STEPS_PER_SECOND}
    images = [(step, value * reading.samples_per_step) for step, value in steps]
    return replace(curves, series=series | {IMAGES_PER_SECOND: images})


def _evict() -> None:
    with _lock:
        points = sum(len(reading.series) for reading in _readings.values())
        while len(_readings) > MAX_LOGS or (points > MAX_POINTS and len(_readings) > 1):
            points -= len(_readings.popitem(last=False)[1].series)
