"""What a room above may plug into the queue: a say before a job goes to its provider, and why a held job is held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.models import Job
from jobs.permissions import AnyUser
from queueing.models import QueueEntry

#: Given a claimed entry and its job as it would be submitted. False: it may not go, and its entry is seen to.
Guard = Callable[[QueueEntry, Job], bool]

#: Given the ids of jobs, those about which the guard may have something to say. One question for many jobs.
Concern = Callable[[Sequence[str]], Collection[str]]

_guards: dict[str, tuple[Guard, Concern]] = {}


def register_guard(name: str, guard: Guard, concern: Concern = set) -> None:
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


@dataclass(frozen=True, slots=True)
class Hold:
    """What holds a job, and for how long; `address` is where the one who asked may decide, if they may."""

    words: str
    until: datetime
    address: str | None = None

    @property
    def sentence(self) -> str:
        """All of it, for who has no clock of their own to show it on."""
        return f"{self.words}; expires {self.until:%Y-%m-%d %H:%M} UTC."


#: Given the ids of held jobs and who looks: the hold on each that it holds. Asked once a page, not once a job.
Teller = Callable[[Sequence[str], AnyUser | None], Mapping[str, Hold]]

#: What is said of a held job that nobody has a word for.
UNKNOWN = "It waits for an approval."

_tellers: dict[str, Teller] = {}


def register_holds(name: str, teller: Teller) -> None:
    """Have it asked about held jobs. A second one of the same name replaces the first."""
    _tellers[name] = teller


def holds_on(job_ids: Sequence[str], viewer: AnyUser | None) -> dict[str, Hold]:
    """What holds each of the held jobs, by its id."""
    found: dict[str, Hold] = {}
    for teller in _tellers.values() if job_ids else ():
        found.update(teller(job_ids, viewer))
    return found
