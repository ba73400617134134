"""News for the browsers: written in the transaction of the change, told to the streams after it.

The rows are django-eventstream's, numbered by one counter for all channels. The number is taken under the
counter's row lock, which is held until the commit: numbers become visible in their own order, so a reader
who remembers one number misses nothing. `unit_of_work` takes that lock last of all, and so for the shortest
time; nobody who holds it waits for another row, so it can't be part of a deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models, transaction
from django.utils import timezone
from django_eventstream.models import Event, EventCounter

from cloudtrain_site.database.fast_sql import insert
from cloudtrain_site.database.sqlite_write_queue import line_at

COUNTER = "cloudtrain"
EVERYONE = "everyone"
ALL_CHANNELS = "*"
NOTIFY_CHANNEL = "cloudtrain_events"
#: One channel a user, for what concerns that user's streams alone; no browser reads it.
USER_CHANNEL = "user-"
RIGHTS_CHANGED = "rights_changed"

_encode = DjangoJSONEncoder().encode


@dataclass(frozen=True)
class News:
    """One event to be stored: its `type`, the channel whose readers get it, and what it says."""

    type: str
    channel: str
    data: dict[str, Any] = field(default_factory=dict)


class _Written:
    """What an open unit of work stores at its end, and a mark that tells whether its change still stands."""

    def __init__(self, item: News | models.Model) -> None:
        self.item = item
        # When a savepoint is rolled back, Django forgets what was to happen at its commit, and so this mark too.
        transaction.on_commit(self.mark)

    def mark(self) -> None:
        """There to be found among what waits for the commit; there is nothing to do."""


def _standing(written: list[_Written]) -> list[News | models.Model]:
    """What belongs to changes that were not rolled back in the meantime."""
    marks = {waiting[1] for waiting in connection.run_on_commit}
    return [one.item for one in written if one.mark in marks]


class _Pending(threading.local):
    """What was written in this thread's open unit of work; `depth` 0 means that none is open."""

    depth = 0

    def __init__(self) -> None:
        self.written: list[_Written] = []


_pending = _Pending()


def _writers_turn() -> AbstractContextManager[Callable[[], None] | None]:
    """Within an open transaction it is too late: whoever holds SQLite's lock must not wait for one who wants it."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return nullcontext()
    return line_at(Path(connection.settings_dict["NAME"])).turn()


@contextmanager
def unit_of_work(*, gives_way: bool = False) -> Iterator[None]:
    """A transaction whose history and news are stored as its last statements. Nested ones join the outermost.

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
                standing = _standing(_pending.written)
                _insert([row for row in standing if not isinstance(row, News)])
                _store([news for news in standing if isinstance(news, News)])
        finally:
            _pending.depth -= 1
            if _pending.depth == 0:
                _pending.written.clear()


def joined_unit() -> AbstractContextManager[object]:
    """The open unit of work as it is, or one of its own.

    A nested `unit_of_work` costs two statements, so that it can be rolled back alone. What nobody rolls back alone,
    because its error ends the whole unit, joins it for nothing.
    """
    return nullcontext() if _pending.depth else unit_of_work()


def publish(news: News) -> None:
    """Store `news` with the change that it tells of: in the open unit of work, or in one of its own."""
    _store_at_the_end(news)


def write_last(row: models.Model) -> None:
    """Insert `row`, which tells of a change, with the others of its kind: at the end of the open unit of work, or of
    one of its own. Within the unit it can't be read yet."""
    _store_at_the_end(row)


def _store_at_the_end(item: News | models.Model) -> None:
    with joined_unit():
        _pending.written.append(_Written(item))


def rights_changed(user_id: int) -> None:
    """End this user's open streams, in every process, after the commit: they are reopened with the rights of then."""
    publish(News(RIGHTS_CHANGED, f"{USER_CHANNEL}{user_id}", {"user_id": user_id}))


def _insert(rows: list[models.Model]) -> None:
    """One statement for each kind: a change of three things is three lines of history, of one table."""
    for kind in dict.fromkeys(map(type, rows)):
        insert([row for row in rows if type(row) is kind])


def _store(news: list[News]) -> None:
    if not news:
        return
    last = _take_numbers(len(news))
    now = timezone.now()
    insert(
        [
            Event(
                channel=item.channel,
                type="message",
                eid=last - len(news) + position,
                data=_encode({"type": item.type, **item.data}),
                created=now,
            )
            for position, item in enumerate(news, start=1)
        ]
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [NOTIFY_CHANNEL])


def _take_numbers(count: int) -> int:
    """Take the next `count` numbers; returns the last of them. Holds the counter until the commit."""
    last = _advance(count)
    if last is None:
        EventCounter.objects.get_or_create(name=COUNTER)
        last = _advance(count)
    assert last is not None
    return last


def _advance(count: int) -> int | None:
    """None: there is no counter yet. One statement, which Django has no words for: every change waits for it."""
    table = connection.ops.quote_name(EventCounter._meta.db_table)
    updated = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET value = value + %s, updated = %s WHERE name = %s RETURNING value",  # noqa: S608
            [count, updated, COUNTER],
        )
        found = cursor.fetchall()
    return found[0][0] if found else None
