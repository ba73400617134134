"""Triggers that put the last loss of kept curves into the row of their job too, whoever writes them and however.

The list by loss needs it beside what lists filter by, in one index. On SQLite a migration that rebuilds the table of
curves creates these anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

#: By name: the event, its condition, and the row that has the loss; `IS` is how a database compares nulls.
TRIGGERS = {
    "last_loss_added": ("INSERT", "new.last_loss IS NOT NULL", "new"),
    "last_loss_changed": ("UPDATE OF last_loss", "old.last_loss {differs} new.last_loss", "new"),
    "last_loss_removed": ("DELETE", "old.last_loss IS NOT NULL", "old"),
}
KEEP = "UPDATE jobs_job SET last_loss = {loss} WHERE id = {row}.job_id;"


def _sqlite() -> Sequence[str]:
    return [
        f"CREATE TRIGGER {name} AFTER {event} ON jobs_keptcurves WHEN {condition.format(differs='IS NOT')} "
        f"BEGIN {_kept(row)} END"
        for name, (event, condition, row) in TRIGGERS.items()
    ]


def _postgresql() -> Sequence[str]:
    triggers = [
        f"CREATE TRIGGER {name} AFTER {event} ON jobs_keptcurves FOR EACH ROW "
        f"WHEN ({condition.format(differs='IS DISTINCT FROM')}) EXECUTE FUNCTION last_loss_kept()"
        for name, (event, condition, _) in TRIGGERS.items()
    ]
    return [
        "CREATE OR REPLACE FUNCTION last_loss_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' THEN {_kept('old')} ELSE {_kept('new')} END IF; RETURN NULL; END $$",
        *triggers,
    ]


def _kept(row: str) -> str:
    return KEEP.format(row=row, loss="NULL" if row == "old" else "new.last_loss")


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in _sqlite() if schema_editor.connection.vendor == "sqlite" else _postgresql():
        schema_editor.execute(statement, None)


def uninstall(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop them. To migrate backwards."""
    table = "" if schema_editor.connection.vendor == "sqlite" else " ON jobs_keptcurves"
    for name in TRIGGERS:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}{table}", None)
    if table:
        schema_editor.execute("DROP FUNCTION IF EXISTS last_loss_kept()", None)
