"""Why a held job is held, in the words of whoever holds it, and where it is let go, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jobs.access import AnyUser

#: Given the ids of held jobs, the sentence for each that it holds. Asked once a page, not once a job.
Teller = Callable[[Sequence[str]], Mapping[str, str]]
#: Given the same and who looks, the address at which that one may decide; without those that others decide about.
Doors = Callable[[Sequence[str], AnyUser], Mapping[str, str]]

#: What is said of a held job that nobody has a word for.
UNKNOWN = "It waits for an approval."

_tellers: dict[str, Teller] = {}
_doors: dict[str, Doors] = {}


def register(name: str, teller: Teller, doors: Doors) -> None:
    """Have both asked about held jobs. A second one of the same name replaces the first."""
    _tellers[name], _doors[name] = teller, doors


def sentences(job_ids: Sequence[str]) -> dict[str, str]:
    """Why each of the held jobs is held, by its id."""
    told: dict[str, str] = {}
    for teller in _tellers.values() if job_ids else ():
        told.update(teller(job_ids))
    return told


def doors(job_ids: Sequence[str], user: AnyUser) -> dict[str, str]:
    """Where `user` may decide about which of the held jobs, by its id."""
    found: dict[str, str] = {}
    for ask in _doors.values() if job_ids else ():
        found.update(ask(job_ids, user))
    return found
