"""The log of a training on this machine: slices of it, its progress, its final lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cloudtrain_site.encryption import SecretScrubber
from jobs.providers.base import NO_SECRETS, LogSlice
from jobs.providers.first_step import first_step
from jobs.providers.local.files import NotRegularFileError, open_regular
from jobs.providers.progress import ANSI, CONTROL, Progress, read_progress

#: Stands in for a log that is a link, a folder, a FIFO or the like: only the training itself can have made it one.
REPLACED = "The training replaced its log with something that is not a readable file, so it is not shown."
#: Bytes read of a log that this process has not followed so far.
TAIL_BYTES = 256_000
#: A longer line is read without waiting for its end.
MAX_LINE_BYTES = 64_000
#: A longer preparation than fits leaves it unknown at which step a training began.
BEGINNING_BYTES = 16_000_000
MAX_FOLLOWED_LOGS = 256
FINAL_LINES_READ_BYTES = 8_000
MAX_FINAL_LINES = 3
MAX_FINAL_CHARACTERS = 1_000

# By log: the offset read so far, and the progress until there. Threads may read the same log at once: each entry is
# replaced whole, so that the slower one only makes the next call read a little again.
_followed: dict[Path, tuple[int, Progress]] = {}


def follow_progress(log: Path) -> Progress | None:
    """Return the progress that the log gives, reading only its new bytes. None: there is no log."""
    try:
        with open_regular(log) as file:
            size = os.fstat(file.fileno()).st_size
            offset, known = _resume_point(log, size)
            file.seek(offset)
            data = file.read(size - offset)
    except FileNotFoundError:
        return None
    except NotRegularFileError:
        return Progress(last_log=REPLACED)
    # A bar is drawn without an end of line: it counts now, and is read again when it is whole.
    complete = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if len(data) - complete > MAX_LINE_BYTES:
        complete = len(data)
    if complete:
        known = read_progress(_text(data[:complete]), before=known)
    _remember_offset(log, offset + complete, known)
    return read_progress(_text(data[complete:]), before=known) if data[complete:] else known


def began_at_step(log: Path, total: int | None) -> int | None:
    """Return the step at which the training began, as its log's beginning says; None when it doesn't."""
    try:
        with open_regular(log) as file:
            return first_step(_text(file.read(BEGINNING_BYTES)), total)
    except (FileNotFoundError, NotRegularFileError):
        return None


def stop_following(log: Path) -> None:
    _followed.pop(log, None)


def _resume_point(log: Path, size: int) -> tuple[int, Progress]:
    offset, known = _followed.get(log, (0, Progress()))
    if offset > size:
        offset, known = 0, Progress()
    return max(offset, size - TAIL_BYTES), known


def _remember_offset(log: Path, offset: int, known: Progress) -> None:
    _followed[log] = (offset, known)
    while len(_followed) > MAX_FOLLOWED_LOGS:
        _followed.pop(next(iter(_followed)), None)


def read_slice(log: Path, *, start: int, limit: int, ended: bool, scrubber: SecretScrubber = NO_SECRETS) -> LogSlice:
    """Return at most `limit` bytes from byte `start`, or from the character after it; whole characters only.

    `ended`: the log no longer grows, so that a character cut off at its end stays so. The secrets of `scrubber` are
    masked wherever the slice begins and ends: a request from the middle of a secret gets no half of it.
    """
    try:
        with open_regular(log) as file:
            size = os.fstat(file.fileno()).st_size
            start = _character_start(file.fileno(), max(0, min(start, size)))
            # A slice shorter than a character would make no progress.
            data = _read_scrubbed(file.fileno(), start, max(limit, 4), scrubber)
    except FileNotFoundError:
        return LogSlice(text="", start=0, end=0, complete=ended)
    except NotRegularFileError:
        text = f"{REPLACED}\n"
        start = max(0, min(start, len(text)))
        return LogSlice(text=text[start:], start=start, end=len(text), complete=ended)
    if not ended or start + len(data) < size:
        data = data[: complete_length(data)]
    end = start + len(data)
    return LogSlice(text=_text(data), start=start, end=end, complete=ended and end >= size)


def _read_scrubbed(file: int, start: int, size: int, scrubber: SecretScrubber) -> bytes:
    before = min(start, scrubber.reach)
    data = scrubber(os.pread(file, before + size + scrubber.reach, start - before))
    return data[before : before + size]


def final_lines(log: Path, noise: re.Pattern[str] | None = None) -> str:
    """Return the last meaningful lines of the log, without progress bars, frames of a traceback, and `noise`."""
    try:
        with open_regular(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - FINAL_LINES_READ_BYTES))
            text = _text(file.read())
    except FileNotFoundError:
        return ""
    except NotRegularFileError:
        return REPLACED
    return last_messages(text, noise)


def last_messages(text: str, noise: re.Pattern[str] | None = None) -> str:
    """As `final_lines`, of the end of a log."""
    lines = [line.rstrip() for line in CONTROL.sub("", ANSI.sub("", text.replace("\r", "\n"))).split("\n")]
    messages = [line for line in lines if line and not re.match(r"\s|Traceback \(most|.*%\|", line)]
    messages = [line for line in messages if noise is None or not noise.match(line)]
    return "\n".join(messages[-MAX_FINAL_LINES:])[-MAX_FINAL_CHARACTERS:]


def _character_start(file: int, position: int) -> int:
    """Return the first position from `position` on at which a character begins."""
    first = max(0, position - 3)
    before = os.pread(file, position - first, first)
    for back, byte in enumerate(reversed(before), start=1):
        if not _is_continuation(byte):
            missing = _character_length(byte) - back
            rest = os.pread(file, max(0, missing), position)
            return position + len(rest) if all(map(_is_continuation, rest)) else position
    return position


def complete_length(data: bytes) -> int:
    """Return the number of bytes before a character that is cut off at the end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if not _is_continuation(byte):
            return len(data) - back if _character_length(byte) > back else len(data)
    return len(data)


def _is_continuation(byte: int) -> bool:
    return 0x80 <= byte < 0xC0


def _character_length(first: int) -> int:
    return 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
