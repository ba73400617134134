"""Who else has a say before a job goes to its provider, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q

from cloudtrain_site.states import Actor, Source, change_state
from jobs.models import Job
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus

#: Given a claimed entry and its job as it would be submitted. False: it may not go, and its entry is seen to.
Guard = Callable[[QueueEntry, Job], bool]

_guards: dict[str, Guard] = {}


def register(name: str, guard: Guard) -> None:
    """Have `guard` asked just before a provider is called. A second one of the same name replaces the first."""
    _guards[name] = guard


def may_go(entry: QueueEntry, job: Job) -> bool:
    """Whether every guard lets the job go. The first that doesn't ends the round; one that raises lets nothing go."""
    return all(guard(entry, job) for guard in _guards.values())


def hold_back(entry: QueueEntry, *, actor: Actor, reason: str) -> bool:
    """Take a claimed entry out of the queue until it is released. False: the claim is somebody else's by now."""
    return change_state(
        entry,
        EntryStatus.BLOCKED,
        actor=actor,
        source=Source.DISPATCHER,
        reason=reason,
        only_if=Q(claim_token=entry.claim_token),
        claim_token=None,
        lease_until=None,
        attempts=0,
    )
