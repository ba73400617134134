"""Work on many rows in batches, and their deletion in transactions so short that no other writer waits long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from django.db.models import QuerySet

from cloudtrain_site.database.unit_of_work import unit_of_work

FIRST_BATCH = 100
MAX_BATCH = 1000
#: A transaction that took longer is followed by one of half as many rows, so that none comes near 100 ms.
LONG_SECONDS = 0.04
SHORT_SECONDS = 0.01

Delete = Callable[[Sequence[Any]], int]
T = TypeVar("T")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last may be shorter."""
    # itertools.batched came with Python 3.12.
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def delete_in_batches(rows: QuerySet[Any], *, until: float, delete: Delete | None = None) -> int:
    """Delete `rows`, by `delete` of some of their keys where it is given, until `time.monotonic()` is at `until`.

    Returns how many: without `delete`, of the rows themselves, not of what goes with them.
    """
    deleted, size = 0, FIRST_BATCH
    while time.monotonic() < until:
        keys = list(rows.values_list("pk", flat=True)[:size])
        if not keys:
            break
        started = time.monotonic()
        with unit_of_work():
            deleted += _delete(rows, keys) if delete is None else delete(keys)
        size = next_size(size, time.monotonic() - started)
    return deleted


def next_size(size: int, seconds: float) -> int:
    """Return how many rows the next batch has, when one of `size` rows took that long."""
    if seconds > LONG_SECONDS:
        return max(1, size // 2)
    return min(MAX_BATCH, size * 2) if seconds < SHORT_SECONDS else size


def _delete(rows: QuerySet[Any], keys: Sequence[Any]) -> int:
    rows.model._default_manager.filter(pk__in=keys).delete()
    return len(keys)
