"""Tables as CSV files, streamed row by row."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

#: A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


LINES_PER_PIECE = 1000


class _Echo:
    """A file for the csv module whose `write` returns the line."""

    def write(self, line: str) -> str:
        return line


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a CSV file. No text begins as a formula; None is an empty cell."""
    writer = csv.writer(_Echo())
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow([safe_cell(value) for value in row])


def safe_cell(value: Any) -> Any:
    """Return `value`; a text that a spreadsheet would calculate begins with an apostrophe. Numbers stay numbers."""
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.startswith(_FORMULA_SIGNS) else value


def csv_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Return a download of the rows, which are read while it is sent: their number needs no memory."""
    lines = _sent(csv_lines(header, rows))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


async def _sent(lines: Iterator[str]) -> AsyncIterator[str]:
    """Yield some lines at a time, made in the request's thread. Django would read all of a plain iterator at once."""
    read_next = sync_to_async(lambda: "".join(islice(lines, LINES_PER_PIECE)))
    while piece := await read_next():
        yield piece
