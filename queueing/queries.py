"""The entries that a user may see."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.contrib.auth.models import User

from jobs.models import Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of
from queueing.models import LARGE, QueueEntry, QueueEntryQuerySet
from queueing.statuses import LIVE, EntryStatus
from queueing.waiting.order import queue_in_order

#: What lists show of an entry and its job, and explain it by: the other columns took a third of a list.
SHOWN = (
    *("job", "organization", "user", "provider", "status", "effective_priority", "turn", "not_before", "needs_usd"),
    *("attempts", "unconfirmed_at", "last_error", "enqueued_at", "dispatched_at"),
    *("job__number", "job__config_name", "job__provider", "job__hardware_profile", "job__status"),
    *("job__cancel_requested_at", "job__started_at", "job__progress", "job__progress_told_at"),
    *("job__provider_waiting_reason", "job__estimated_cost_usd", "job__estimated_cost_low_usd", "job__estimate_source"),
)


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
    by_id = QueueEntry.objects.select_related("job").only(*SHOWN).in_bulk([pk for some in ids for pk in some])
    people = User.objects.in_bulk({entry.user_id for entry in by_id.values()})
    organizations = Organization.objects.in_bulk({entry.organization_id for entry in by_id.values()})
    for entry in by_id.values():
        entry.user, entry.organization = people.get(entry.user_id), organizations.get(entry.organization_id)
    return [[by_id[pk] for pk in some if pk in by_id] for some in ids]
