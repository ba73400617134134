"""Indexes of large tables, which PostgreSQL makes and drops while a running site goes on writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddIndex
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class AddIndexOnline(AddIndex):
    """Adds an index; on PostgreSQL without a lock that writers wait for. For a migration that is not atomic."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.connection.vendor != "postgresql" or schema_editor.collect_sql:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        statement = self.index.create_sql(model, schema_editor, concurrently=True)
        create_online(schema_editor, self.index.name, str(statement))


class DropIndexesOnline(Operation):
    """Drops indexes by their names, as far as they are there; without a lock that others wait for, as above.

    They don't come back: what a former version asks is answered without them, too.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        return type(self).__qualname__, self.names, {}

    def describe(self) -> str:
        return f"Drop the indexes {', '.join(self.names)}"

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        connection = schema_editor.connection
        names = [connection.ops.quote_name(name) for name in self.names]
        # Django makes the indexes of a new table's keys at the migration's end: these are not there yet.
        schema_editor.deferred_sql = [
            statement for statement in schema_editor.deferred_sql if not any(name in str(statement) for name in names)
        ]
        if connection.vendor == "postgresql" and not schema_editor.collect_sql:
            _execute_patiently(connection, [f"DROP INDEX CONCURRENTLY IF EXISTS {name}" for name in names])
        else:
            for name in names:
                schema_editor.execute(f"DROP INDEX IF EXISTS {name}")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        pass


def create_online(schema_editor: BaseDatabaseSchemaEditor, name: str, *statements: str) -> None:
    """Execute the statements, which make the index `name`. They wait for what others do, however long."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        # An attempt that was cut off leaves half of it.
        cursor.execute(f"DROP INDEX IF EXISTS {connection.ops.quote_name(name)}")
    _execute_patiently(connection, statements)


def _execute_patiently(connection: BaseDatabaseWrapper, statements: Sequence[str]) -> None:
    if connection.in_atomic_block:
        # A squashed migration makes the tables of an empty database, all or none: nobody else is there.
        statements = [statement.replace("INDEX CONCURRENTLY", "INDEX") for statement in statements]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        [before] = cursor.fetchone()
        cursor.execute("SET lock_timeout = 0")
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])
