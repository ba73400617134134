"""The squashed migrations make what the old ones made, and a database of any state in between goes on through these."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from tests.cloudtrain_site.process_stacks import Stack, migrated, running_stack  # noqa: F401
from tests.old_migrations import VERSION_0_1

Key = tuple[str, str]
#: A middle: some rooms had more of their migrations than others, and there were no notices yet.
MIDDLE = {**VERSION_0_1, "jobs": "0034_closing_and_invitations", "cloudtrain_site": "0006_brakes"}
#: Rows that Django makes of the models' names; an older database keeps those of models that are gone.
BY_DJANGO = {"django_migrations", "auth_permission", "django_content_type", "sqlite_sequence"}
MIGRATE = """
import django; django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
for state in {states!r}:
    executor = MigrationExecutor(connection)
    executor.loader.replace_migrations = False
    executor.loader.build_graph()
    executor.migrate(list(state.items()))
call_command("migrate", verbosity=0)
from tests.old_migrations import drop_retired
drop_retired()
"""
QUERIES = {
    "columns": """
        SELECT table_name || '.' || column_name, data_type, udt_name, character_maximum_length, numeric_precision,
               numeric_scale, is_nullable, column_default, is_identity, generation_expression, collation_name
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "constraints": """
        SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
}


@pytest.fixture(scope="module")
def old() -> MigrationLoader:
    """All migrations, with none replaced."""
    return MigrationLoader(None, replace_migrations=False)


def old_parents(old: MigrationLoader) -> dict[Key, set[Key]]:
    """What each of the old migrations depends on."""
    nodes = old.graph.node_map
    return {key: {parent.key for parent in nodes[key].parents} for key in nodes if key not in old.replacements}


def test_both_ways_lead_to_the_same_models(old: MigrationLoader) -> None:
    new = MigrationLoader(None)
    leaves = [key for key in old.graph.leaf_nodes() if key not in old.replacements]
    detector = MigrationAutodetector(old.project_state(leaves), new.project_state())
    assert detector.changes(graph=new.graph) == {}


@pytest.mark.slow
@pytest.mark.django_db
def test_each_state_in_between_is_brought_up_by_what_it_lacks(
    old: MigrationLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = old_parents(old)
    assert {*VERSION_0_1.items()} <= parents.keys()
    for applied in [set(), *states_between(parents), set(parents)]:
        # As Django records it at the end of each `migrate`, also of one app.
        recorded = applied | {key for key, squashed in old.replacements.items() if {*squashed.replaces} <= applied}
        monkeypatch.setattr(MigrationRecorder, "applied_migrations", lambda _, keys=recorded: dict.fromkeys(keys))
        executor = MigrationExecutor(connection)
        executor.loader.check_consistent_history(connection)
        done = set(applied)
        for migration, is_backwards in executor.migration_plan(executor.loader.graph.leaf_nodes()):
            lacking = {*migration.replaces} or {(migration.app_label, migration.name)}
            assert not is_backwards
            assert not lacking & done
            assert {parent for key in lacking for parent in parents[key]} <= done | lacking
            done |= lacking
        assert done == set(parents)


def states_between(parents: dict[Key, set[Key]]) -> Iterable[set[Key]]:
    """What may have been applied at some time: 0.1.0, a middle, and of any order three moments each."""
    for state in (VERSION_0_1, MIDDLE):
        yield with_ancestors(state.items(), parents)
    chance = random.Random(7)
    for _ in range(20):
        order: list[Key] = []
        while len(order) < len(parents):
            ready = sorted(key for key in parents if key not in order and parents[key] <= {*order})
            # Of one app again and again, as commits do it, or of any.
            same = [key for key in ready if order and key[0] == order[-1][0]]
            order.append(chance.choice(same if same and chance.random() < 0.8 else ready))
        for _ in range(3):
            yield set(order[: chance.randrange(1, len(order))])


def with_ancestors(keys: Iterable[Key], parents: dict[Key, set[Key]]) -> set[Key]:
    found: set[Key] = set()
    missing = [*keys]
    while missing:
        key = missing.pop()
        found.add(key)
        missing += parents[key] - found
    return found


@pytest.mark.long
def test_a_new_database_is_as_one_that_was_upgraded(tmp_path: Path, migrated: Stack) -> None:  # noqa: F811
    folders = [tmp_path / name for name in ("upgraded", "fresh")]
    for folder in folders:
        folder.mkdir()
    with running_stack(folders[0]) as stack, running_stack(folders[1], migrated) as fresh:
        made = stack.run(
            "-c", MIGRATE.format(states=[VERSION_0_1, MIDDLE]), DJANGO_SETTINGS_MODULE="cloudtrain_site.settings"
        )
        assert made.returncode == 0, made.stderr
        upgraded, new = tables_of(stack), tables_of(fresh)
        assert len(new) > 200
        assert {
            name: (upgraded.get(name), new.get(name)) for name in upgraded | new if upgraded.get(name) != new.get(name)
        } == {}
        assert rows_of(stack) == rows_of(fresh)
        recorded = "SELECT app, name FROM django_migrations"
        assert {*fresh.query(recorded)} == {*stack.query(recorded)}


def tables_of(stack: Stack) -> dict[str, Any]:
    """Every column, constraint, index and trigger by its name, without the order of the columns."""
    if stack.database_url:
        return {f"{kind} {row[0]}": row[1:] for kind, query in QUERIES.items() for row in stack.query(query)}
    made = stack.query("SELECT type, name, sql FROM sqlite_master")
    return {f"{kind} {name}": sorted(lines_of(sql)) if kind == "table" else sql for kind, name, sql in made}


def lines_of(sql: str) -> list[str]:
    """The columns and constraints of a table, from the statement that made it."""
    inner = sql[sql.index("(") + 1 : sql.rindex(")")]
    pieces, depth = [""], 0
    for piece in re.findall(r"'[^']*'|[(),]|[^'(),]+", inner):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += piece
    return [piece.strip() for piece in pieces]


def rows_of(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    """The rows that a new database begins with, without the moments at which they were made."""
    if stack.database_url:
        with psycopg.connect(stack.database_url) as database:
            tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            return {name: plain_rows(database.execute(f'SELECT * FROM "{name}"')) for name in named(tables)}
    with sqlite3.connect(stack.folder / "data" / "cloudtrain.sqlite3") as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: plain_rows(file.execute(f'SELECT * FROM "{name}"')) for name in named(tables)}


def named(tables: list[Any]) -> list[str]:
    return sorted({name for (name,) in tables} - BY_DJANGO)


def plain_rows(cursor: Any) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return sorted(({name: row[name] for name in sorted(row) if name != "updated_at"} for row in rows), key=str)
