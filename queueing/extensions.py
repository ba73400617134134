"""What a room above may plug into the queue: a say before a job goes to its provider, and why a held job is held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudtrain_site.registry import Registry
from jobs.models import Job
from jobs.permissions import AnyUser
from queueing.models import QueueEntry

#: Given a claimed entry and its job as it would be submitted. False: it may not go, and its entry is seen to.
Guard = Callable[[QueueEntry, Job], bool]

#: Given the ids of jobs, those about which the guard may have something to say. One question for many jobs.
Selector = Callable[[Sequence[str]], Collection[str]]


@dataclass(frozen=True, slots=True)
class DispatchGuard:
    """Is asked just before a provider is called; may be left unasked about jobs that are not of its `concern`."""

    allows: Guard
    select: Selector = set


dispatch_guards: Registry[DispatchGuard] = Registry()


def guarded_jobs(job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs about which some guard has to be asked."""
    return {job_id for guard in dispatch_guards.values() for job_id in guard.select(job_ids)}


def guards_allow(entry: QueueEntry, job: Job) -> bool:
    """Whether every guard lets the job go. The first that doesn't ends the round; one that raises lets nothing go."""
    return all(guard.allows(entry, job) for guard in dispatch_guards.values())


@dataclass(frozen=True, slots=True)
class Hold:
    """What holds a job, and for how long; `address` is where the one who asked may decide, if they may."""

    reason: str
    until: datetime
    address: str | None = None

    @property
    def sentence(self) -> str:
        """All of it, for who has no clock of their own to show it on."""
        return f"{self.reason}; expires {self.until:%Y-%m-%d %H:%M} UTC."


#: Given the ids of held jobs and who looks: the hold on each that it holds. Asked once a page, not once a job.
HoldFinder = Callable[[Sequence[str], AnyUser | None], Mapping[str, Hold]]

#: What is said of a held job that nobody has a word for.
UNKNOWN_HOLD = "It waits for an approval."

holds: Registry[HoldFinder] = Registry()


def find_holds(job_ids: Sequence[str], viewer: AnyUser | None) -> dict[str, Hold]:
    """What holds each of the held jobs, by its id."""
    found_holds: dict[str, Hold] = {}
    for finder in holds.values() if job_ids else ():
        found_holds.update(finder(job_ids, viewer))
    return found_holds
