"""Triggers that mark the past days and months whose costs are added, changed or removed, by whatever statement.

No unit is marked that may still go on somewhere: nothing is added up before it is over everywhere for an hour, and no
transaction takes as long. On SQLite a migration that rebuilds the table of costs creates these anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from jobs.models.cost_sums import SumOf

#: What the sums are made of.
COLUMNS = (
    *("day", "organization_id", "user_id", "provider", "hardware", "job_id"),
    *("spent", "is_unpriced", "is_further"),
)
EVENTS = {"added": ("INSERT", ("new",)), "changed": ("UPDATE", ("old", "new")), "removed": ("DELETE", ("old",))}
#: A day of the westernmost time zone ends so many hours after that of UTC.
WESTERNMOST = 12
NOTE = (
    f"INSERT INTO jobs_changedcosts (kind, span) SELECT {SumOf.DAY:d}, {{day}} WHERE {{day_is_over}} "
    f"UNION ALL SELECT {SumOf.MONTH:d}, {{month}} WHERE {{month_is_over}};"
)


def _sqlite() -> Sequence[str]:
    is_over = f"{{}}.day < date('now', '-{WESTERNMOST} hours')"
    notes = {
        row: NOTE.format(
            day=f"{row}.day",
            day_is_over=is_over.format(row),
            month=f"substr({row}.day, 1, 7)",
            month_is_over=f"substr({row}.day, 1, 7) < strftime('%Y-%m', 'now', '-{WESTERNMOST} hours')",
        )
        for row in ("old", "new")
    }
    return [
        f"CREATE TRIGGER day_cost_{name} AFTER {event} ON jobs_daycost WHEN {_condition(rows, is_over, 'IS NOT')} "
        f"BEGIN {' '.join(notes[row] for row in rows)} END"
        for name, (event, rows) in EVENTS.items()
    ]


def _postgresql() -> Sequence[str]:
    today = f"(now() AT TIME ZONE 'UTC' - interval '{WESTERNMOST} hours')::date"
    is_over = f"{{}}.day < {today}"
    old, new = (
        NOTE.format(
            day=f"to_char({row}.day, 'YYYY-MM-DD')",
            day_is_over=is_over.format(row),
            month=f"to_char({row}.day, 'YYYY-MM')",
            month_is_over=f"date_trunc('month', {row}.day) < date_trunc('month', {today})",
        )
        for row in ("old", "new")
    )
    triggers = [
        f"CREATE TRIGGER day_cost_{name} AFTER {event} ON jobs_daycost FOR EACH ROW "
        f"WHEN ({_condition(rows, is_over, 'IS DISTINCT FROM')}) EXECUTE FUNCTION day_cost_noted()"
        for name, (event, rows) in EVENTS.items()
    ]
    return [
        "CREATE OR REPLACE FUNCTION day_cost_noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP <> 'INSERT' THEN {old} END IF; IF TG_OP <> 'DELETE' THEN {new} END IF; RETURN NULL; END $$",
        *triggers,
    ]


def _condition(rows: Sequence[str], is_over: str, differs: str) -> str:
    over = " OR ".join(is_over.format(row) for row in rows)
    if len(rows) == 1:
        return over
    return f"({over}) AND ({' OR '.join(f'old.{column} {differs} new.{column}' for column in COLUMNS)})"


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in _sqlite() if schema_editor.connection.vendor == "sqlite" else _postgresql():
        schema_editor.execute(statement, None)


def uninstall(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop them. To migrate backwards."""
    table = "" if schema_editor.connection.vendor == "sqlite" else " ON jobs_daycost"
    for name in EVENTS:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS day_cost_{name}{table}", None)
    if table:
        schema_editor.execute("DROP FUNCTION IF EXISTS day_cost_noted()", None)
