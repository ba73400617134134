"""The unit of work: a transaction that writes a change's history and events as its last statements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.db import connection, models, transaction

from cloudtrain_site.database.fast_sql import insert
from cloudtrain_site.database.sqlite_write_queue import write_queue_at

#: Called once a unit of work, with all its items of one kind.
Store = Callable[[list[Any]], None]


class _Deferred:
    """An item that an open unit of work stores at its end, and a mark that tells whether its change still stands."""

    def __init__(self, item: object, store: Store, early: bool) -> None:
        self.item = item
        self.store = store
        self.early = early
        # When a savepoint is rolled back, Django drops its commit hooks, and with them this mark.
        self.is_marked = bool(connection.savepoint_ids)
        if self.is_marked:
            transaction.on_commit(self.mark)

    def mark(self) -> None:
        """Do nothing. `_standing` searches for it among Django's commit hooks, which lose it with a savepoint."""


def _standing(deferred: list[_Deferred], *, early: bool) -> dict[Store, list[Any]]:
    """Return the items whose changes were not rolled back in the meantime, by their store; rows come first."""
    marks = {hook[1] for hook in connection.run_on_commit}
    by_store: dict[Store, list[Any]] = {} if early else {_insert: []}
    for entry in deferred:
        if entry.early == early and (not entry.is_marked or entry.mark in marks):
            by_store.setdefault(entry.store, []).append(entry.item)
    return by_store


class _Pending(threading.local):
    """The deferred items of this thread's open unit of work; `depth` 0 means that none is open."""

    depth = 0

    def __init__(self) -> None:
        self.deferred: list[_Deferred] = []


_pending = _Pending()


def _write_lock() -> AbstractContextManager[Callable[[], None] | None]:
    """Return the queue's lock, or nothing within a transaction: a holder of SQLite's lock must not queue."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return nullcontext()
    return write_queue_at(Path(connection.settings_dict["NAME"])).acquire()


@contextmanager
def unit_of_work(*, release_at_commit: bool = False) -> Iterator[None]:
    """Open a transaction whose history and events are stored as its last statements. Nested ones join the outermost.

    `release_at_commit`: the commit hooks run without SQLite's write lock, and queue for it again when they write. That
    is for background work: a request would wait in the queue twice.
    """
    with _write_lock() as release, transaction.atomic():
        if release_at_commit and release is not None:
            transaction.on_commit(release)  # the first of the commit hooks
        _pending.depth += 1
        try:
            yield
            if _pending.depth == 1:
                _store_deferred()
        finally:
            _pending.depth -= 1
            if _pending.depth == 0:
                _pending.deferred.clear()


def _store_deferred() -> None:
    """Store the early items, with those that their stores add, and then all others."""
    stored = 0
    while stored < len(_pending.deferred):
        added = _pending.deferred[stored:]
        stored += len(added)
        for store, items in _standing(added, early=True).items():
            store(items)
    for store, items in _standing(_pending.deferred, early=False).items():
        store(items)


def joined_unit() -> AbstractContextManager[object]:
    """Return the open unit of work, or a new one.

    A nested `unit_of_work` costs two statements, so that it can be rolled back alone. Work that is never rolled back
    alone, because its error ends the whole unit, joins it at no cost.
    """
    return nullcontext() if _pending.depth else unit_of_work()


def insert_at_commit(row: models.Model) -> None:
    """Insert `row`, the record of a change, at the end of the open unit of work, or of a new one.

    It goes in one statement with the other rows of its kind. Within the unit it can't be read yet.
    """
    at_end_of_unit(row, _insert)


def at_end_of_unit(item: object, store: Store, *, early: bool = False) -> None:
    """Have `store` write `item`, with its other items, after the rows of the open unit of work, or in a new one.

    `early`: before those rows, and before the events, for whose counter everybody waits; such a store may add rows and
    events. Items of a savepoint that is rolled back are left out.
    """
    with joined_unit():
        _pending.deferred.append(_Deferred(item, store, early))


def _insert(rows: list[models.Model]) -> None:
    """Insert with one statement for each kind: a change of three things is three rows of one history table."""
    for kind in dict.fromkeys(map(type, rows)):
        insert([row for row in rows if type(row) is kind])
