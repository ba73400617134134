"""Loads libraries without the optional dependencies that they would load because they happen to be installed.

Each of these libraries tries to import something optional and does without it when the import fails. What none of our
code uses through them is hidden while they are loaded, and only then: a later import finds it. bench_events, the web
process with 1,000 event streams: 125 MB without it, where 120 are promised. PyJWT is not among them: single sign-on
needs its public keys.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

LOGGING = "structlog"
NOT_NEEDED = {
    # Its formatter of tracebacks for terminals; ours are plain text.
    LOGGING: ("rich",),
    # Fields for PostgreSQL's own types, highlighted pages with texts in Markdown, a client for tests: we have neither.
    "rest_framework.compat": ("psycopg", "psycopg2", "pygments", "markdown", "requests"),
    # What our library for the schema loads for tests.
    "django.test.utils": ("jinja2",),
}
#: For its command line.
NOT_NEEDED_BY_HTTPX = ("click", "pygments", "rich")


def load_lean_libraries() -> None:
    """Import those libraries; to be called where a process begins, once Django can find its settings."""
    for library in NOT_NEEDED:
        _load_lean(library)


def load_lean_logging() -> None:
    """Import the first of them; to be called before all our modules that log."""
    _load_lean(LOGGING)


def _load_lean(library: str) -> None:
    with _missing(NOT_NEEDED[library]):
        importlib.import_module(library)


def load_lean_httpx() -> None:
    """The same for httpx, which the web loads when it needs it."""
    with _missing(NOT_NEEDED_BY_HTTPX):
        importlib.import_module("httpx")


@contextmanager
def _missing(names: tuple[str, ...]) -> Iterator[None]:
    """Have the import of these fail for now, as Python's import system provides for; not of those that are there."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    hidden = {name: modules.pop(name) for name in names if name in modules}
    modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del modules[name]
        modules.update(hidden)
