"""SQLite's statistics, by which its planner chooses an index. PostgreSQL collects its own."""

from __future__ import annotations

from django.db import connection
from django.db.backends.utils import CursorWrapper

#: ANALYZE reads this many entries of an index: all of them in most installations. A small sample makes the planner
#: take the wrong index for the lists of jobs; without a limit, a large index would block other writers for seconds.
MAX_INDEX_ENTRIES = 100_000
#: Fewer rows are found quickly with any plan.
MIN_TABLE_ROWS = 500
#: A table is analyzed again when it has grown by this factor.
GROWTH_FACTOR = 4

#: By table, the rows at its last ANALYZE by this process. A table with gaps in its ids seems larger than it is, and
#: would be analyzed at every call.
_analyzed_at: dict[str, int] = {}


def refresh_statistics() -> None:
    """Analyze all tables."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            _analyze(cursor, _tables(cursor))


def refresh_when_grown() -> int:
    """Analyze the tables that are much larger than at their last ANALYZE. Returns how many.

    A new database has nothing to analyze, and wrong statistics an hour later. The check costs a few milliseconds.
    """
    if connection.vendor != "sqlite":
        return 0
    with connection.cursor() as cursor:
        row_counts = _analyzed_counts(cursor)
        sizes = {table: _size(cursor, table) for table in _tables(cursor)}
        before = {table: max(row_counts.get(table, 0), _analyzed_at.get(table, 0)) for table in sizes}
        grown = [table for table, size in sizes.items() if size >= max(MIN_TABLE_ROWS, GROWTH_FACTOR * before[table])]
        _analyze(cursor, grown)
    _analyzed_at.update((table, sizes[table]) for table in grown)
    return len(grown)


def _analyze(cursor: CursorWrapper, tables: list[str]) -> None:
    if tables:
        cursor.execute(f"PRAGMA analysis_limit={MAX_INDEX_ENTRIES}")
    for table in tables:
        cursor.execute("SELECT name, partial FROM pragma_index_list(%s)", [table])
        indexes = cursor.fetchall()
        # Each by itself, so that other writers run in between: all of a million jobs' take half a second. How many rows
        # the table has is only known from an index of all of them.
        has_row_count = any(not is_partial for _, is_partial in indexes)
        for name in [name for name, _ in indexes] if has_row_count else [table]:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(name)}")


def _tables(cursor: CursorWrapper) -> list[str]:
    """Return the tables with an index: for the others there is nothing to choose."""
    cursor.execute("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'index'")
    return [table for (table,) in cursor.fetchall()]


def _size(cursor: CursorWrapper, table: str) -> int:
    """Return about how many rows the table has, at no cost."""
    name = connection.ops.quote_name(table)
    # Each end by itself is one step; for both in one SELECT, SQLite would read from one to the other.
    cursor.execute(f"SELECT (SELECT MAX(rowid) FROM {name}) - (SELECT MIN(rowid) FROM {name}) + 1")  # noqa: S608
    return int(cursor.fetchone()[0] or 0)


def _analyzed_counts(cursor: CursorWrapper) -> dict[str, int]:
    """Return by table how many rows it had at its last ANALYZE."""
    cursor.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'")
    if cursor.fetchone() is None:
        return {}
    cursor.execute("SELECT tbl, MAX(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl")
    return dict(cursor.fetchall())
