"""Whether a database is of a newer version than this code."""

from __future__ import annotations

from collections.abc import Iterable


def newer_migrations(applied: Iterable[tuple[str, str]], known: Iterable[tuple[str, str]]) -> list[str]:
    """Return the applied migrations that are newer than all known ones of their app.

    An unknown name alone says little: a squashed migration leaves the older names of those that it has replaced.
    """
    newest: dict[str, str] = {}
    for app, name in known:
        newest[app] = max(newest.get(app, ""), name)
    return [f"{app}.{name}" for app, name in sorted(applied) if app in newest and name > newest[app]]
