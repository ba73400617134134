"""The correlation id: a short text that names one piece of work in every log line, row and request of it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bind_contextvars

HEADER = "X-Correlation-ID"
MAX_LENGTH = 128

_ALLOWED = re.compile(r"[A-Za-z0-9._-]{1,128}")

# The variable that django-structlog binds for a request, so that requests and all other work share it. `...` is
# structlog's value for an unbound one. Kept here, since a lookup by name takes 1 us and not 0.03 us.
_current = bind_contextvars(correlation_id=...)["correlation_id"].var


def new_correlation_id() -> str:
    """Return twelve random hex digits."""
    return secrets.token_hex(6)


def is_valid_correlation_id(value: str) -> bool:
    """Whether `value` is accepted from outside: 1 to 128 letters, digits, `-`, `_` and `.`."""
    return _ALLOWED.fullmatch(value) is not None


def current_correlation_id() -> str | None:
    """Return the id of the current work; None outside of any work."""
    bound = _current.get()
    return None if bound is ... else bound


def get_correlation_id() -> str:
    """Return the id of the current work. Outside of any work it sets a new one."""
    correlation_id = current_correlation_id()
    if correlation_id is None:
        correlation_id = new_correlation_id()
        _current.set(correlation_id)
    return correlation_id


def set_correlation_id(correlation_id: str) -> None:
    """Set the id of the current work. Raises ValueError for an id that the header would refuse."""
    if not is_valid_correlation_id(correlation_id):
        raise ValueError("a correlation id has 1 to 128 letters, digits, '-', '_' and '.'")
    _current.set(correlation_id)


def clear_correlation_id() -> None:
    """Remove the id; the next `get_correlation_id` makes a new one."""
    _current.set(...)


@contextmanager
def correlation(correlation_id: str | None = None) -> Iterator[str]:
    """Give a block an id, by default a new one; afterwards the former one is set again.

    Reset by value and not by token: a generator that another task closes has a token of a foreign context.
    """
    before = _current.get()
    correlation_id = correlation_id or new_correlation_id()
    _current.set(correlation_id)
    try:
        yield correlation_id
    finally:
        _current.set(before)


@contextmanager
def command_correlation() -> Iterator[str]:
    """Give a management command an id; a command that runs within other work keeps that work's id."""
    with correlation(current_correlation_id()) as correlation_id:
        yield correlation_id


class _Process:
    """The id of a process, for its lines outside of any work: its start, its end, its idle loops."""

    def __init__(self) -> None:
        self.renew()
        # A forked worker would otherwise log under its parent's id.
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.correlation_id = new_correlation_id()


_process = _Process()


def process_correlation_id() -> str:
    """Return the id of this process, for lines that are logged outside of any work."""
    return _process.correlation_id
