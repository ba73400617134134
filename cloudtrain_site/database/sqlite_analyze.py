"""What SQLite's planner chooses an index by. PostgreSQL counts by itself."""

from __future__ import annotations

from django.db import connection
from django.db.backends.utils import CursorWrapper

#: Of an index, so many entries are looked at: all of them in most installations. A small sample has the planner take
#: the wrong index for the lists of jobs; without an end, a large table would keep other writers waiting for seconds.
LOOKED_AT = 100_000
#: Fewer rows are found quickly whichever way.
WORTH_COUNTING = 500
#: A table that has so many times the rows that were counted is counted anew.
GROWTH = 4

#: By table, what this process has counted it at: one with gaps looks larger than it is, and is not counted for ever.
_counted_at: dict[str, int] = {}


def refresh_statistics() -> None:
    """Count all tables, each by itself, so that writers get in between."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            _count(cursor, _tables(cursor))


def refresh_when_grown() -> int:
    """Count those tables that are much larger than when they were last counted. Returns how many.

    A new database has nothing to count, and the wrong idea of it an hour later; asking costs a few milliseconds.
    """
    if connection.vendor != "sqlite":
        return 0
    with connection.cursor() as cursor:
        known = _known(cursor)
        sizes = {table: _size(cursor, table) for table in _tables(cursor)}
        before = {table: max(known.get(table, 0), _counted_at.get(table, 0)) for table in sizes}
        grown = [table for table, size in sizes.items() if size >= max(WORTH_COUNTING, GROWTH * before[table])]
        _count(cursor, grown)
    _counted_at.update((table, sizes[table]) for table in grown)
    return len(grown)


def _count(cursor: CursorWrapper, tables: list[str]) -> None:
    if tables:
        cursor.execute(f"PRAGMA analysis_limit={LOOKED_AT}")
    for table in tables:
        cursor.execute(f"ANALYZE {connection.ops.quote_name(table)}")


def _tables(cursor: CursorWrapper) -> list[str]:
    """Those with an index, among which there is something to choose."""
    cursor.execute("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'index'")
    return [table for (table,) in cursor.fetchall()]


def _size(cursor: CursorWrapper, table: str) -> int:
    """About how many rows it has, found at once."""
    name = connection.ops.quote_name(table)
    # Each end by itself is one step; asked for both at once, SQLite would walk from one to the other.
    cursor.execute(f"SELECT (SELECT MAX(rowid) FROM {name}) - (SELECT MIN(rowid) FROM {name}) + 1")  # noqa: S608
    return int(cursor.fetchone()[0] or 0)


def _known(cursor: CursorWrapper) -> dict[str, int]:
    """By table, how many rows it had when it was counted."""
    cursor.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'")
    if cursor.fetchone() is None:
        return {}
    cursor.execute("SELECT tbl, MAX(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl")
    return dict(cursor.fetchall())
