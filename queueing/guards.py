"""Who else has a say before a job goes to its provider, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from cloudtrain_site.states import Actor, Source, change_state
from jobs.models import Job
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus

#: Given a claimed entry and its job as it would be submitted. False: it may not go, and its entry is seen to.
Guard = Callable[[QueueEntry, Job], bool]

#: Given the ids of jobs, those about which the guard may have something to say. One question for many jobs.
Concern = Callable[[Sequence[str]], Collection[str]]

_guards: dict[str, tuple[Guard, Concern]] = {}


def register(name: str, guard: Guard, concern: Concern = set) -> None:
    """Have `guard` asked just before a provider is called. A second one of the same name replaces the first.

    It may be left unasked about jobs that are not of its `concern`, which are all when nothing is said.
    """
    _guards[name] = (guard, concern)


def concerned(job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs about which some guard has to be asked."""
    return {job_id for _, concern in _guards.values() for job_id in concern(job_ids)}


def may_go(entry: QueueEntry, job: Job) -> bool:
    """Whether every guard lets the job go. The first that doesn't ends the round; one that raises lets nothing go."""
    return all(guard(entry, job) for guard, _ in _guards.values())


def hold_back(entry: QueueEntry, *, actor: Actor, reason: str) -> bool:
    """Take a claimed entry out of the queue until it is released. False: the claim is somebody else's by now."""
    return change_state(
        entry,
        EntryStatus.BLOCKED,
        actor=actor,
        source=Source.DISPATCHER,
        reason=reason,
        only_if={"claim_token": entry.claim_token},
        claim_token=None,
        lease_until=None,
        attempts=0,
    )
