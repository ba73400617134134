"""The transaction of the house: what tells of a change is written with it, as the last of its statements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.db import connection, models, transaction

from cloudtrain_site.database.fast_sql import insert
from cloudtrain_site.database.sqlite_write_queue import write_queue_at

#: Writes things of one kind, all that a unit of work has of them at once.
Store = Callable[[list[Any]], None]


class _Deferred:
    """What an open unit of work stores at its end, and a mark that tells whether its change still stands."""

    def __init__(self, item: object, store: Store) -> None:
        self.item = item
        self.store = store
        # When a savepoint is rolled back, Django forgets what was to happen at its commit, and so this mark too.
        transaction.on_commit(self.mark)

    def mark(self) -> None:
        """Does nothing: `_standing` looks for it among Django's commit hooks, which lose it with a savepoint."""


def _standing(deferred: list[_Deferred]) -> dict[Store, list[Any]]:
    """By who stores it, what belongs to changes that were not rolled back in the meantime; rows come first."""
    marks = {waiting[1] for waiting in connection.run_on_commit}
    by_store: dict[Store, list[Any]] = {_insert: []}
    for one in deferred:
        if one.mark in marks:
            by_store.setdefault(one.store, []).append(one.item)
    return by_store


class _Pending(threading.local):
    """What was deferred in this thread's open unit of work; `depth` 0 means that none is open."""

    depth = 0

    def __init__(self) -> None:
        self.deferred: list[_Deferred] = []


_pending = _Pending()


def _writers_turn() -> AbstractContextManager[Callable[[], None] | None]:
    """Within an open transaction it is too late: whoever holds SQLite's lock must not wait for one who wants it."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return nullcontext()
    return write_queue_at(Path(connection.settings_dict["NAME"])).turn()


@contextmanager
def unit_of_work(*, gives_way: bool = False) -> Iterator[None]:
    """A transaction whose history and events are stored as its last statements. Nested ones join the outermost.

    `gives_way`: what waits for its commit is in no other writer's way, and what it writes waits for a turn of its own.
    That is for work that nobody waits for: a request would stand in line twice.
    """
    with _writers_turn() as end_turn, transaction.atomic():
        if gives_way and end_turn is not None:
            transaction.on_commit(end_turn)  # the first of what waits for the commit
        _pending.depth += 1
        try:
            yield
            if _pending.depth == 1:
                for store, items in _standing(_pending.deferred).items():
                    store(items)
        finally:
            _pending.depth -= 1
            if _pending.depth == 0:
                _pending.deferred.clear()


def joined_unit() -> AbstractContextManager[object]:
    """The open unit of work as it is, or one of its own.

    A nested `unit_of_work` costs two statements, so that it can be rolled back alone. What nobody rolls back alone,
    because its error ends the whole unit, joins it for nothing.
    """
    return nullcontext() if _pending.depth else unit_of_work()


def insert_at_commit(row: models.Model) -> None:
    """Insert `row`, which tells of a change, with the others of its kind: at the end of the open unit of work, or of
    one of its own. Within the unit it can't be read yet."""
    at_end_of_unit(row, _insert)


def at_end_of_unit(item: object, store: Store) -> None:
    """Have `store` write `item`, with all that it is to write, after the rows of the open unit of work, or in one of
    its own. What belongs to a savepoint that is rolled back is left out."""
    with joined_unit():
        _pending.deferred.append(_Deferred(item, store))


def _insert(rows: list[models.Model]) -> None:
    """One statement for each kind: a change of three things is three lines of history, of one table."""
    for kind in dict.fromkeys(map(type, rows)):
        insert([row for row in rows if type(row) is kind])
