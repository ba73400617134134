"""Triggers that note on which past days jobs have changed, whoever changes them and by whatever statement.

Not on today's: nothing is summed up of a day before it is over for an hour, and no transaction takes as long. On SQLite
a migration that rebuilds the table of jobs creates these anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

#: What the sums are made of.
COLUMNS = (
    *("completed_at", "organization_id", "provider", "status", "cost_usd", "cost_doubt"),
    *("started_at", "created_at", "submission_marker"),
)

_NOTE = "INSERT INTO jobs_changedday (day)"


def _sqlite() -> Sequence[str]:
    differ = " OR ".join(f"old.{column} IS NOT new.{column}" for column in COLUMNS)
    past = "{0}.completed_at < date('now')"
    either = f"({past.format('old')} OR {past.format('new')}) AND ({differ})"
    noted = [f"{_NOTE} SELECT substr({row}.completed_at, 1, 10) WHERE {past.format(row)};" for row in ("old", "new")]
    return (
        f"CREATE TRIGGER job_day_added AFTER INSERT ON jobs_job WHEN {past.format('new')} BEGIN {noted[1]} END",
        f"CREATE TRIGGER job_day_changed AFTER UPDATE OF {', '.join(COLUMNS)} ON jobs_job WHEN {either} "
        f"BEGIN {' '.join(noted)} END",
    )


def _postgresql() -> Sequence[str]:
    differ = " OR ".join(f"old.{column} IS DISTINCT FROM new.{column}" for column in COLUMNS)
    past = "({0}.completed_at AT TIME ZONE 'UTC')::date < (now() AT TIME ZONE 'UTC')::date"
    note = f"{_NOTE} SELECT ({{0}}.completed_at AT TIME ZONE 'UTC')::date WHERE {past}; "
    return (
        "CREATE OR REPLACE FUNCTION job_day_noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'UPDATE' THEN {note.format('old')}END IF; {note.format('new')}RETURN NULL; END $$",
        f"CREATE TRIGGER job_day_added AFTER INSERT ON jobs_job FOR EACH ROW WHEN ({past.format('new')}) "
        "EXECUTE FUNCTION job_day_noted()",
        f"CREATE TRIGGER job_day_changed AFTER UPDATE OF {', '.join(COLUMNS)} ON jobs_job FOR EACH ROW "
        f"WHEN (({past.format('old')} OR {past.format('new')}) AND ({differ})) EXECUTE FUNCTION job_day_noted()",
    )


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in _sqlite() if schema_editor.connection.vendor == "sqlite" else _postgresql():
        schema_editor.execute(statement, None)


def uninstall(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop them. To migrate backwards."""
    table = "" if schema_editor.connection.vendor == "sqlite" else " ON jobs_job"
    for name in ("job_day_added", "job_day_changed"):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}{table}", None)
    if table:
        schema_editor.execute("DROP FUNCTION IF EXISTS job_day_noted()", None)
