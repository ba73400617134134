"""The triggers that keep audit records from being edited or deleted, by whatever statement."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

GATE = "cloudtrain_site_auditgate"

_SQLITE = [
    """
    CREATE TRIGGER audit_no_update BEFORE UPDATE ON cloudtrain_site_auditrecord
    WHEN NOT EXISTS (SELECT 1 FROM cloudtrain_site_auditgate)
    BEGIN SELECT RAISE(ABORT, 'Audit records are never edited or deleted.'); END
    """,
    """
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON cloudtrain_site_auditrecord
    WHEN NOT EXISTS (SELECT 1 FROM cloudtrain_site_auditgate)
    BEGIN SELECT RAISE(ABORT, 'Audit records are never edited or deleted.'); END
    """,
]

_POSTGRESQL = [
    """
    CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM cloudtrain_site_auditgate) THEN
            RAISE EXCEPTION 'Audit records are never edited or deleted.'
            USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON cloudtrain_site_auditrecord
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
    """,
]


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create the triggers. For a migration, after the tables exist."""
    for statement in _SQLITE if schema_editor.connection.vendor == "sqlite" else _POSTGRESQL:
        schema_editor.execute(statement)


def uninstall(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop them. To migrate backwards."""
    if schema_editor.connection.vendor == "sqlite":
        for verb in ("update", "delete"):
            schema_editor.execute(f"DROP TRIGGER IF EXISTS audit_no_{verb}")
    else:
        schema_editor.execute("DROP TRIGGER IF EXISTS audit_no_change ON cloudtrain_site_auditrecord")
        schema_editor.execute("DROP FUNCTION IF EXISTS audit_refuse()")


def append_only(table: str, refusal: str) -> migrations.RunPython:
    """Return a migration's operation after which rows of `table` are added and never edited or deleted.

    As of the audit records: the same gate opens both. A migration that rebuilds the table repeats it.
    """
    on_sqlite = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "  # noqa: S608
        f"WHEN NOT EXISTS (SELECT 1 FROM {GATE}) BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
        for verb in ("UPDATE", "DELETE")
    ]
    on_postgresql = [
        f"CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "  # noqa: S608
        f"IF NOT EXISTS (SELECT 1 FROM {GATE}) THEN "
        f"RAISE EXCEPTION '{refusal}' USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NULL; END $$",
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
    ]

    def create(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
        for statement in on_sqlite if schema_editor.connection.vendor == "sqlite" else on_postgresql:
            schema_editor.execute(statement)

    def drop(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
        if schema_editor.connection.vendor == "sqlite":
            for verb in ("update", "delete"):
                schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
        else:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_change ON {table}")
            schema_editor.execute(f"DROP FUNCTION IF EXISTS {table}_refuse()")

    return migrations.RunPython(create, drop)
