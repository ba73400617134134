"""The log that Ray keeps of a job: the runner's copy of the trainer's bytes, with marks (`jobs/providers/runner/`).

Ray gives a log's last lines or the whole, and no offset. A mark in the last lines tells where they are.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.providers.local.log import complete_length
from jobs.providers.ray.client import Connection
from jobs.providers.runner.marks import MARK, read_mark

FIRST_LINES = 2_000
MAX_LINES = 100_000
#: The record of the end is the last of them but for what leftovers of a trainer print after it.
LINES_OF_RECORDS = 200
#: A longer line is passed on before its end.
MAX_LINE_BYTES = 64_000
#: Precedes the marks in a log, with the beginning of the training.
START = "start"
WHOLE = -1
#: The line with which Ray begins a log.
SETTING_UP = re.compile(rb"\A[^\n]* job_manager\.py:\d+ -- Runtime env is setting up\.\n")


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log, from byte `start` on. None: it has no mark, so that its place is not known.

    `is_whole`: it is the whole log. One without a mark is then of a training that the runner never began.
    """

    data: bytes
    start: int | None
    is_whole: bool
    records: dict[str, Any] = field(default_factory=dict)

    @property
    def has_never_begun(self) -> bool:
        return self.is_whole and self.start is None

    def from_byte(self, position: int, *, is_ended: bool) -> str:
        """Return the text from byte `position` on, as many bytes of UTF-8 as there are in the log.

        As long as the log grows it ends with a line, so that no secret is cut in two.
        """
        if self.start is None and not is_ended:
            return ""  # what is there so far is Ray's own
        data = self.data[max(0, position - (self.start or 0)) :]
        return text_of(data if is_ended else data[: whole_lines(data)])


def whole_lines(data: bytes) -> int:
    """Return the number of bytes up to the last end of line, or all characters of a very long one."""
    complete = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    return complete if len(data) - complete <= MAX_LINE_BYTES else complete_length(data)


def text_of(data: bytes) -> str:
    """Return the bytes as text of the same length in UTF-8: each that is none, and NUL, becomes one character."""
    return data.decode("utf-8", _ERRORS).replace("\x00", " ")


_ERRORS = "cloudtrain-one-for-one"
codecs.register_error(_ERRORS, lambda error: ("?" * (error.end - error.start), error.end))  # type: ignore[attr-defined]


async def read_tail(connection: Connection, row: Mapping[str, Any], position: int) -> Tail | None:
    """Return the log's end from byte `position` on, or from before it. None: there is no log to be had.

    Raises RayError, as when the job's node is gone.
    """
    lines = FIRST_LINES if position else WHOLE
    while True:
        tail = await _read(connection, row, lines)
        if tail is None or tail.is_whole or (tail.start is not None and tail.start <= position):
            return tail
        lines = lines * 8 if lines < MAX_LINES else WHOLE


async def read_records(connection: Connection, row: Mapping[str, Any]) -> Tail | None:
    """Return the last lines of a job's log, in which the record of its end is."""
    return await _read(connection, row, LINES_OF_RECORDS)


async def _read(connection: Connection, row: Mapping[str, Any], lines: int) -> Tail | None:
    node = row.get("driver_node_id")
    if not isinstance(node, str) or not node:
        return None
    name = f"job-driver-{row['submission_id']}.log"
    data = await connection.bytes("/api/v0/logs/file", node_id=node, filename=name, lines=str(lines))
    return parse(data, row, is_whole=lines == WHOLE or data.count(b"\n") < lines)


def parse(data: bytes, row: Mapping[str, Any], *, is_whole: bool) -> Tail:
    """Take Ray's own lines and the marks out of the end of a log."""
    data = SETTING_UP.sub(b"", data, count=1)
    # Ray writes it when it likes, even behind the first bytes of the trainer.
    data = data.replace(f"Running entrypoint for job {row['submission_id']}: {row['entrypoint']}\n".encode(), b"", 1)
    pieces, start, last = [], None, 0
    records: dict[str, Any] = {}
    for match in MARK.finditer(data):
        fields = read_mark(match[1])
        if fields is None:
            continue
        piece = data[last : match.start()]
        if start is None and START in fields:
            start, piece = 0, b""  # what precedes it is Ray's
        elif start is None:
            start = max(0, fields["at"] - len(piece))
            piece = piece[-fields["at"] :] if fields["at"] else b""
        pieces.append(piece)
        records |= {kind: fields[kind] for kind in (START, "end") if kind in fields}
        last = match.end()
    return Tail(b"".join([*pieces, data[last:]]), start, is_whole, records)
