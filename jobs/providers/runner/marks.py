"""Marks: lines of the runner's own between the bytes of a log that an engine keeps for us, taken out by its reader.

A mark is the character RS, a JSON object and a line feed. `at` is the number of the trainer's bytes before it, so that
the end of a log alone tells where in the log it is. The others are the records of the start and the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from typing import Any

MARK = re.compile(rb"\x1e(\{[^\x1e\n]{2,4000}\})\n")
#: A mark follows this many bytes of log.
BYTES_BETWEEN = 64_000


def mark(at: int, kind: str = "", record: object = None) -> bytes:
    """Return a mark at byte `at`; with a kind (`start`, `end`) it carries a record."""
    fields: dict[str, object] = {"at": at}
    if kind:
        fields[kind] = record
    return b"\x1e" + json.dumps(fields).encode() + b"\n"


def read_mark(data: bytes) -> dict[str, Any] | None:
    """Return a mark's fields; None for what a trainer printed that only looks like one."""
    try:
        fields = json.loads(data)
    except ValueError:
        return None
    at = fields.get("at") if isinstance(fields, dict) else None
    return fields if isinstance(at, int) and at >= 0 else None


def write_whole(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


class MarkedCopy:
    """Copies a trainer's output to a file, byte by byte, with marks in between."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.copied = 0
        self.marked = 0

    def run(self) -> None:
        """Copy until the last process that could write has closed its end, or until stop()."""
        while True:
            data = os.read(self.source, 65_536)
            if not data:
                return
            self.write(data)
            self.copied += len(data)
            if self.copied - self.marked >= BYTES_BETWEEN:
                self.marked = self.copied
                self.write(mark(self.copied))

    def write(self, data: bytes) -> None:
        # A full disk must neither end the training nor stop it: what can't be written is lost.
        with contextlib.suppress(OSError):
            write_whole(self.target, data)
