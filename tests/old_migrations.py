"""Back to the database of an older version, and on to this one again."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from approvals.migrations._beside_0_1 import DROP, decisions, notices, requests
from cloudtrain_site.database.retired import RetireField, RetireModel

VERSION_0_1 = {
    "jobs": "0015_count_and_retries",
    "approvals": "0008_seal_terms",
    "queueing": "0006_staging",
    "cloudtrain_site": "0002_preferences",
}


#: The migrations that leave something for the version before.
RETIRING = (
    ("approvals", "0009_every_rule_counts"),
    ("approvals", "0011_notices_of_the_site"),
    ("queueing", "0009_limits_on_the_audit_record"),
)
TRIGGERS = (requests, decisions, notices)


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
    """Migrate to this version, and drop what PostgreSQL keeps for the version before."""
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    drop_retired()


def drop_retired() -> None:
    """Drop it as the next release will: the tables are emptied after each test as this version knows them."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for statement in DROP:
                cursor.execute(statement)


def models_of_0_1() -> Any:
    """Return the models of 0.1.0, on tables as PostgreSQL has them after an upgrade from it, until `drop_retired`."""
    loader = MigrationLoader(connection, replace_migrations=False)
    for key in RETIRING:
        state = loader.project_state(key, at_end=False)
        for operation in loader.graph.nodes[key].operations:
            before, state = state, state.clone()
            operation.state_forwards(key[0], state)
            if isinstance(operation, RetireField | RetireModel) or operation in TRIGGERS:
                with connection.schema_editor() as editor:
                    operation.database_backwards(key[0], editor, state, before)
                with connection.schema_editor() as editor:
                    operation.database_forwards(key[0], editor, before, state)
    return loader.project_state(list(VERSION_0_1.items())).apps


def _without_replacements() -> MigrationExecutor:
    executor = MigrationExecutor(connection)
    executor.loader.replace_migrations = False  # type: ignore[attr-defined]
    executor.loader.build_graph()
    return executor
