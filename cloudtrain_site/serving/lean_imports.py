"""Loads libraries without the optional dependencies that they would load because they happen to be installed.

Each of these libraries tries to import something optional and does without it when the import fails. What none of our
code uses through them is hidden while they are loaded, and only then: a later import finds it. bench_rest, the whole
site at rest on one machine: 337 MB without this module, 301 MB with it. bench_events, the web process with 1,000 event
streams: 125 MB without it, where 120 are promised. PyJWT is not among them: single sign-on needs its public keys.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

NOT_NEEDED = (
    # Its formatter of tracebacks for terminals; ours are plain text.
    ("structlog", ("rich",)),
    # Serializer fields for PostgreSQL's own types, and the highlighting of its pages: we have neither.
    ("rest_framework.compat", ("psycopg", "psycopg2", "pygments")),
)


def load_lean_libraries() -> None:
    """Import those libraries; to be called where a process begins, once Django can find its settings."""
    for library, optional in NOT_NEEDED:
        with _missing(optional):
            importlib.import_module(library)


@contextmanager
def _missing(names: tuple[str, ...]) -> Iterator[None]:
    """Have the import of these fail for now, as Python's import system provides for; not of those that are there."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
