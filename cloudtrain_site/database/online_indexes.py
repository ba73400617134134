"""Indexes of large tables, which PostgreSQL makes while a running site goes on writing."""

from __future__ import annotations

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddIndex
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


def create_online(schema_editor: BaseDatabaseSchemaEditor, name: str, *statements: str) -> None:
    """Execute the statements, which make the index `name`. They wait for what others do, however long."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        [before] = cursor.fetchone()
        # An attempt that was cut off leaves half of it.
        cursor.execute(f"DROP INDEX IF EXISTS {connection.ops.quote_name(name)}")
        cursor.execute("SET lock_timeout = 0")
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])
