"""The statuses of a queue entry, and the changes between them."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models


class EntryStatus(models.TextChoices):
    #: Held until its approval is given.
    BLOCKED = "blocked", "Held"
    #: Waits for its turn.
    PENDING = "pending", "Waiting"
    #: A dispatcher has claimed it and is handing it to the provider.
    DISPATCHING = "dispatching", "Starting"
    #: The provider has its job; the entry takes a slot.
    RUNNING = "running"
    #: Its job ended well. Final.
    COMPLETED = "completed"
    #: Its job failed, could not be started, or its approval ran out. Final.
    FAILED = "failed"
    #: Its job was cancelled. Final.
    CANCELLED = "cancelled"


WAITING = (EntryStatus.BLOCKED, EntryStatus.PENDING)
#: Counts against the limits.
TAKES_SLOT = (EntryStatus.DISPATCHING, EntryStatus.RUNNING)
LIVE = (*WAITING, *TAKES_SLOT)
TERMINAL = (EntryStatus.COMPLETED, EntryStatus.FAILED, EntryStatus.CANCELLED)

ALLOWED: Mapping[str, frozenset[str]] = {
    EntryStatus.BLOCKED: frozenset((EntryStatus.PENDING, *TERMINAL)),
    # Back to blocked when the job has changed since its approval.
    EntryStatus.PENDING: frozenset((EntryStatus.BLOCKED, EntryStatus.DISPATCHING, *TERMINAL)),
    # Back to pending when the provider certainly created nothing.
    EntryStatus.DISPATCHING: frozenset((EntryStatus.BLOCKED, EntryStatus.PENDING, EntryStatus.RUNNING, *TERMINAL)),
    EntryStatus.RUNNING: frozenset(TERMINAL),
    **{status: frozenset[str]() for status in TERMINAL},
}
