"""The queue's extension points: guards of the dispatch, and the reasons why jobs are held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudtrain_site.registry import Registry
from jobs.models import Job
from jobs.permissions import AnyUser
from queueing.models import QueueEntry

#: Takes a claimed entry and its job as it would be submitted. False: it may not go, and the guard has settled its
#: entry.
Guard = Callable[[QueueEntry, Job], bool]

#: Takes ids of jobs, and returns those that the guard has to check. One query for many jobs.
Selector = Callable[[Sequence[str]], Collection[str]]


@dataclass(frozen=True, slots=True)
class DispatchGuard:
    """A check just before a provider is called, skipped for jobs that `select` doesn't return."""

    allows: Guard
    select: Selector = set


dispatch_guards: Registry[DispatchGuard] = Registry()


def guarded_jobs(job_ids: Sequence[str]) -> set[str]:
    """Return those of the jobs that some guard has to check."""
    return {job_id for guard in dispatch_guards.values() for job_id in guard.select(job_ids)}


def guards_allow(entry: QueueEntry, job: Job) -> bool:
    """Whether every guard allows the job. The first that doesn't is the last called; one that raises allows none."""
    return all(guard.allows(entry, job) for guard in dispatch_guards.values())


@dataclass(frozen=True, slots=True)
class Hold:
    """The hold on a job, until when, and the address at which the viewer may decide; None when they may not."""

    reason: str
    until: datetime
    address: str | None = None

    @property
    def sentence(self) -> str:
        """Reason and deadline in one sentence."""
        return f"{self.reason}; the request expires {self.until:%Y-%m-%d %H:%M} UTC."


#: Takes ids of held jobs and the viewer, and returns holds by job id. Called once a page, not once a job.
HoldFinder = Callable[[Sequence[str], AnyUser | None], Mapping[str, Hold]]

#: The reason of a held job for which no finder returns a hold.
UNKNOWN_HOLD = "The job needs approval."

holds: Registry[HoldFinder] = Registry()


def find_holds(job_ids: Sequence[str], viewer: AnyUser | None) -> dict[str, Hold]:
    """Return the holds of held jobs, by job id."""
    by_job: dict[str, Hold] = {}
    for finder in holds.values() if job_ids else ():
        by_job.update(finder(job_ids, viewer))
    return by_job
