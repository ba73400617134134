"""The entries that a user may see."""

from __future__ import annotations

from collections.abc import Collection

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
