"""An index of the parts of names, by which a search finds the few that contain a text without reading all names.

The parts are of three characters, as `name_key` has them. SQLite keeps them in a table of its own (FTS5), which
triggers fill; a migration that rebuilds the table of jobs creates these anew. PostgreSQL keeps them in an index of the
jobs, by a function of ours, since not every database may have the extension pg_trgm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from cloudtrain_site.database.online_indexes import create_online

PART = 3

_SQLITE = (
    "CREATE VIRTUAL TABLE jobs_jobname USING fts5"
    "(name, job_id UNINDEXED, tokenize = 'trigram', detail = 'none', columnsize = 0)",
    "INSERT INTO jobs_jobname (name, job_id) SELECT name_key, id FROM jobs_job",
    "CREATE TRIGGER job_name_added AFTER INSERT ON jobs_job "
    "BEGIN INSERT INTO jobs_jobname (name, job_id) VALUES (new.name_key, new.id); END",
    # A name doesn't change: only a row of an older version gets its key later. What is found twice is one job.
    "CREATE TRIGGER job_name_changed AFTER UPDATE OF name_key ON jobs_job WHEN new.name_key IS NOT old.name_key "
    "BEGIN INSERT INTO jobs_jobname (name, job_id) VALUES (new.name_key, new.id); END",
)
_SQLITE_UNDONE = (
    "DROP TRIGGER IF EXISTS job_name_added",
    "DROP TRIGGER IF EXISTS job_name_changed",
    "DROP TABLE IF EXISTS jobs_jobname",
)
_FUNCTION = (
    "CREATE OR REPLACE FUNCTION job_name_parts(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE "
    "AS $$ SELECT array_agg(DISTINCT substr(name, place, 3)) FROM generate_series(1, length(name) - 2) AS place $$"
)
_INDEX = "CREATE INDEX CONCURRENTLY job_by_name_part ON jobs_job USING gin (job_name_parts(name_key))"
_POSTGRESQL_UNDONE = ("DROP INDEX IF EXISTS job_by_name_part", "DROP FUNCTION IF EXISTS job_name_parts(text)")

_FIND = {
    "sqlite": "SELECT job_id FROM jobs_jobname WHERE jobs_jobname MATCH %s AND instr(name, %s) LIMIT %s",
    "postgresql": "SELECT id FROM jobs_job WHERE job_name_parts(name_key) @> %s::text[] "
    "AND position(%s IN name_key) > 0 LIMIT %s",
}


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create the index. For a migration that is not atomic."""
    if schema_editor.connection.vendor == "sqlite":
        # As a whole: a job that an older version adds between the names and the triggers would never be found, and what
        # a kill leaves of it would have to be dropped by hand.
        with transaction.atomic(using=schema_editor.connection.alias):
            _execute(schema_editor, _SQLITE)
    else:
        schema_editor.execute(_FUNCTION, None)
        create_online(schema_editor, "job_by_name_part", _INDEX)


def uninstall(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop it. To migrate backwards."""
    _execute(schema_editor, _SQLITE_UNDONE if schema_editor.connection.vendor == "sqlite" else _POSTGRESQL_UNDONE)


def _execute(schema_editor: BaseDatabaseSchemaEditor, statements: Sequence[str]) -> None:
    for statement in statements:
        schema_editor.execute(statement, None)


def named(text: str, at_most: int) -> list[str] | None:
    """Return the ids of the jobs whose `name_key` contains `text`, of `at_most` in any order.

    None: it is shorter than a part, and the index doesn't know.
    """
    parts = [text[start : start + PART] for start in range(len(text) - PART + 1)]
    if not parts:
        return None
    is_sqlite = connection.vendor == "sqlite"
    quoted = " ".join('"{}"'.format(part.replace('"', '""')) for part in parts)
    with connection.cursor() as cursor:
        cursor.execute(_FIND[connection.vendor], [quoted if is_sqlite else parts, text, at_most])
        return list(dict.fromkeys(job_id for (job_id,) in cursor.fetchall()))
