"""The entries that a user may see."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jobs.permissions import AnyUser, is_superuser, organizations_of
from queueing.models import LARGE, QueueEntry, QueueEntryQuerySet
from queueing.statuses import LIVE, EntryStatus
from queueing.waiting.order import queue_in_order


def entries_seen_by(user: AnyUser) -> QueueEntryQuerySet:
    entries = QueueEntry.objects.all()
    return entries if is_superuser(user) else entries.filter(organization__in=organizations_of(user))


def visible_entries(user: AnyUser, statuses: Collection[EntryStatus] = LIVE) -> QueueEntryQuerySet:
    """Return the live entries that `user` may see, in the queue's order; those with a slot first.

    By one status alone they are read in order from an index.
    """
    seen = entries_seen_by(user).filter(status__in=statuses).select_related("job", "user", "organization")
    return queue_in_order(seen.defer(*LARGE))


def read_entries(*lists: QueueEntryQuerySet) -> Sequence[list[QueueEntry]]:
    """Return the entries of several parts of `visible_entries`.

    The ids are found first: with their jobs joined, PostgreSQL would sort all rows. Their rows are one statement's.
    """
    ids = [list(entries.values_list("pk", flat=True)) for entries in lists]
    found = QueueEntry.objects.select_related("job").prefetch_related("user", "organization").defer(*LARGE)
    by_id = found.in_bulk([pk for some in ids for pk in some])
    return [[by_id[pk] for pk in some if pk in by_id] for some in ids]
