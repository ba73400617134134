"""Back to the database of an older version, and on to this one again."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder


def go_back_to(*targets: tuple[str, str]) -> Any:
    """Undo what came after `targets`; return the models of that time.

    The squashed migrations are forgotten first, so that only the old ones are undone; `upgrade` records them again.
    """
    recorder = MigrationRecorder(connection)
    executor = _without_replacements()
    for app, name in executor.loader.replacements:
        recorder.record_unapplied(app, name)
    _without_replacements().migrate([*targets])
    return executor.loader.project_state([*targets]).apps


def upgrade() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def _without_replacements() -> MigrationExecutor:
    executor = MigrationExecutor(connection)
    executor.loader.replace_migrations = False  # type: ignore[attr-defined]
    executor.loader.build_graph()
    return executor
