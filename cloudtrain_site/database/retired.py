"""Operations of migrations that leave the previous version what it needs.

On PostgreSQL, processes of two versions run on one database while a site is upgraded. Columns and tables that this
version no longer needs stay there for the previous one, and a migration of the next release drops them.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import DeleteModel, RemoveField, RunPython
from django.db.migrations.state import ProjectState
from django.db.models import ForeignKey


class RetireField(RemoveField):
    """Takes a field from the models; on PostgreSQL its column stays, and may be null.

    When the row that a foreign key points to is deleted, the database sets the column to null.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        field = model._meta.get_field(self.name)
        if isinstance(field, ForeignKey):
            _let_go(schema_editor, model, field, "SET NULL")
        elif not field.null:
            schema_editor.execute(f"ALTER TABLE {model._meta.db_table} ALTER COLUMN {field.column} DROP NOT NULL")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        field = to_state.apps.get_model(app_label, self.model_name)._meta.get_field(self.name)
        table = field.model._meta.db_table
        if field.column not in _columns(schema_editor, table):
            super().database_backwards(app_label, schema_editor, from_state, to_state)
        elif not field.null:
            schema_editor.execute(f"ALTER TABLE {table} ALTER COLUMN {field.column} SET NOT NULL")


class RetireModel(DeleteModel):
    """Takes a model away; on PostgreSQL its table stays. Rows whose parent is deleted go with it."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.name)
        for field in model._meta.local_fields:
            if isinstance(field, ForeignKey):
                _let_go(schema_editor, model, field, "CASCADE")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = to_state.apps.get_model(app_label, self.name)._meta.db_table
        if not _columns(schema_editor, table):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


def on_postgresql(*statements: str, undo: tuple[str, ...] = ()) -> RunPython:
    """Return an operation that executes these statements on PostgreSQL, and nothing elsewhere."""

    def runs(sql: tuple[str, ...]) -> Any:
        def run(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
            if schema_editor.connection.vendor == "postgresql":
                for statement in sql:
                    schema_editor.execute(statement)

        return run

    return RunPython(runs(statements), runs(undo))


def _let_go(schema_editor: BaseDatabaseSchemaEditor, model: Any, field: ForeignKey[Any], then: str) -> None:
    """Have the database itself update or delete a row whose parent is deleted: Django no longer knows the column."""
    with schema_editor.connection.cursor() as cursor:
        found = schema_editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
    names = [name for name, made in found.items() if made["foreign_key"] and made["columns"] == [field.column]]
    parent = field.related_model._meta
    for name in names:  # none where the SQL of a migration is shown that was applied before
        schema_editor.execute(
            f"ALTER TABLE {model._meta.db_table} DROP CONSTRAINT {name}, "
            f"ADD CONSTRAINT {name} FOREIGN KEY ({field.column}) REFERENCES {parent.db_table} ({parent.pk.column}) "
            f"ON DELETE {then} DEFERRABLE INITIALLY DEFERRED"
        )


def _columns(schema_editor: BaseDatabaseSchemaEditor, table: str) -> set[str]:
    """Return the columns of a table in the database; empty: there is no such table."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return set()
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}
