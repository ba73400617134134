"""The `Range` header of a request for a file (RFC 9110, section 14)."""

from __future__ import annotations

import re

RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))")


class UnsatisfiableError(ValueError):
    """The range begins after the end of the file."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def range_of(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last that `header` asks for, of a file of `size` bytes.

    None: the whole file, as for several ranges at once, which nobody has to serve. Raises UnsatisfiableError.
    """
    match = RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None  # the header is invalid, and an invalid one is ignored
    if start >= size or start >= end:
        raise UnsatisfiableError(size)
    return start, end
