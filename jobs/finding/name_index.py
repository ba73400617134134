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
#: PostgreSQL gathers all matches before it returns the first. So a random 0.2 % of the table's pages is read before: if
#: so many names there contain the text, some 10,000 of all do, and the index is not asked.
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
    "CREATE OR REPLACE FUNCTION {0}(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE "
    "AS $$ SELECT array_agg(DISTINCT substr(name, place, {1})) FROM generate_series(1, length(name) - {2}) AS place $$"
)
_INDEX = "CREATE INDEX CONCURRENTLY {0} ON jobs_job USING gin ({1}(name_key))"

#: A text of two characters begins a part, or ends a name. The table has no rows of its own: it shows the index's parts.
#: Django doesn't know the index of endings, and drops it when it rebuilds the table of jobs.
_SQLITE_PAIRS = (
    "CREATE VIRTUAL TABLE jobs_jobnamepart USING fts5vocab(jobs_jobname, row)",
    "CREATE INDEX job_by_name_end ON jobs_job (substr(name_key, -2))",
)
_SQLITE_PAIRS_UNDONE = ("DROP INDEX IF EXISTS job_by_name_end", "DROP TABLE IF EXISTS jobs_jobnamepart")

_MATCHES = "SELECT job_id FROM jobs_jobname WHERE jobs_jobname MATCH %s AND instr(name, %s) LIMIT %s"
_PARTS_FROM = "SELECT term FROM jobs_jobnamepart WHERE term >= %s AND term < %s"
_ENDING = "SELECT id FROM jobs_job WHERE substr(name_key, -2) = %s LIMIT %s"
_CONTAINING = "SELECT id FROM jobs_job WHERE {}(name_key) @> %s::text[] AND position(%s IN name_key) > 0 LIMIT %s"
#: After all others.
_LAST_CHARACTER = chr(0x10FFFF)


def install(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create the index. For a migration of tables with rows, which is not atomic."""
    _create(schema_editor, _SQLITE, "job_name_parts", "job_by_name_part", PART)


def uninstall(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop it. To migrate backwards."""
    _drop(schema_editor, _SQLITE_UNDONE, "job_name_parts", "job_by_name_part")


def install_pairs(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create what finds texts of two characters. For the same."""
    _create(schema_editor, _SQLITE_PAIRS, "job_name_pairs", "job_by_name_pair", PART - 1)


def uninstall_pairs(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop it. To migrate backwards."""
    _drop(schema_editor, _SQLITE_PAIRS_UNDONE, "job_name_pairs", "job_by_name_pair")


def _create(
    schema_editor: BaseDatabaseSchemaEditor, on_sqlite: Sequence[str], function: str, index: str, size: int
) -> None:
    if schema_editor.connection.vendor == "sqlite":
        # As a whole: a job that an older version adds between the names and the triggers would never be found, and what
        # a kill leaves of it would have to be dropped by hand.
        with transaction.atomic(using=schema_editor.connection.alias):
            _execute(schema_editor, on_sqlite)
    else:
        schema_editor.execute(_FUNCTION.format(function, size, size - 1), None)
        create_online(schema_editor, index, _INDEX.format(index, function))


def _drop(schema_editor: BaseDatabaseSchemaEditor, on_sqlite: Sequence[str], function: str, index: str) -> None:
    on_postgresql = (f"DROP INDEX IF EXISTS {index}", f"DROP FUNCTION IF EXISTS {function}(text)")
    _execute(schema_editor, on_sqlite if schema_editor.connection.vendor == "sqlite" else on_postgresql)


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
