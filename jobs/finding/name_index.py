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
#: PostgreSQL gathers all matches before it returns the first: of a text that so many names of a random part of the
#: table contain, in all it is about 10,000, it is not asked. That part is 0.2 % of the table's pages.
FREQUENT = 20
_SAMPLED = "SELECT count(*) FROM jobs_job TABLESAMPLE SYSTEM (0.2) WHERE position(%s IN name_key) > 0"

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

#: Texts of two characters begin a part, or end a name. The table has no rows of its own: it shows the index's parts.
_SQLITE_PAIRS = (
    "CREATE VIRTUAL TABLE jobs_jobnamepart USING fts5vocab(jobs_jobname, row)",
    "CREATE INDEX job_by_name_end ON jobs_job (substr(name_key, -2))",
)
_SQLITE_PAIRS_UNDONE = ("DROP INDEX IF EXISTS job_by_name_end", "DROP TABLE IF EXISTS jobs_jobnamepart")
_PAIRS_FUNCTION = (
    "CREATE OR REPLACE FUNCTION job_name_pairs(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE "
    "AS $$ SELECT array_agg(DISTINCT substr(name, place, 2)) FROM generate_series(1, length(name) - 1) AS place $$"
)
_PAIRS_INDEX = "CREATE INDEX CONCURRENTLY job_by_name_pair ON jobs_job USING gin (job_name_pairs(name_key))"
_PAIRS_UNDONE = ("DROP INDEX IF EXISTS job_by_name_pair", "DROP FUNCTION IF EXISTS job_name_pairs(text)")

_MATCHES = "SELECT job_id FROM jobs_jobname WHERE jobs_jobname MATCH %s AND instr(name, %s) LIMIT %s"
_PARTS_FROM = "SELECT term FROM jobs_jobnamepart WHERE term >= %s AND term < %s"
_ENDING = "SELECT id FROM jobs_job WHERE substr(name_key, -2) = %s LIMIT %s"
_CONTAINING = "SELECT id FROM jobs_job WHERE {}(name_key) @> %s::text[] AND position(%s IN name_key) > 0 LIMIT %s"
#: After all others.
_LAST_CHARACTER = chr(0x10FFFF)


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


def install_pairs(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create what finds texts of two characters. For a migration that is not atomic."""
    if schema_editor.connection.vendor == "sqlite":
        with transaction.atomic(using=schema_editor.connection.alias):
            _execute(schema_editor, _SQLITE_PAIRS)
    else:
        schema_editor.execute(_PAIRS_FUNCTION, None)
        create_online(schema_editor, "job_by_name_pair", _PAIRS_INDEX)


def uninstall_pairs(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop it. To migrate backwards."""
    _execute(schema_editor, _SQLITE_PAIRS_UNDONE if schema_editor.connection.vendor == "sqlite" else _PAIRS_UNDONE)


def _execute(schema_editor: BaseDatabaseSchemaEditor, statements: Sequence[str]) -> None:
    for statement in statements:
        schema_editor.execute(statement, None)


def named(text: str, at_most: int) -> list[str] | None:
    """Return the ids of the jobs whose `name_key` contains `text`, of `at_most` in any order.

    None: the index doesn't know, since the text is a single character, or very many names contain it.
    """
    if len(text) < PART - 1:
        return None
    parts = [text[start : start + PART] for start in range(len(text) - PART + 1)]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            found = _found_on_sqlite(cursor, text, parts, at_most)
        else:
            cursor.execute(_SAMPLED, [text])
            if cursor.fetchone()[0] >= FREQUENT:
                return None
            function = "job_name_parts" if parts else "job_name_pairs"
            cursor.execute(_CONTAINING.format(function), [parts or [text], text, at_most])
            found = cursor.fetchall()
    return list(dict.fromkeys(job_id for (job_id,) in found))[:at_most]


def _found_on_sqlite(cursor: Any, text: str, parts: Sequence[str], at_most: int) -> list[Any]:
    found: list[Any] = []
    between = " "
    if not parts:
        cursor.execute(_ENDING, [text, at_most])
        found = cursor.fetchall()
        cursor.execute(_PARTS_FROM, [text, text + _LAST_CHARACTER])
        parts, between = [part for (part,) in cursor.fetchall()], " OR "
    if parts:
        cursor.execute(_MATCHES, [between.join(map(_quoted, parts)), text, at_most])
        found += cursor.fetchall()
    return found


def _quoted(part: str) -> str:
    return '"{}"'.format(part.replace('"', '""'))
