"""Why a held job is held, in the words of whoever holds it, and where it is let go, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.permissions import AnyUser


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


def register(name: str, teller: Teller) -> None:
    """Have it asked about held jobs. A second one of the same name replaces the first."""
    _tellers[name] = teller


def holds_on(job_ids: Sequence[str], viewer: AnyUser | None) -> dict[str, Hold]:
    """What holds each of the held jobs, by its id."""
    found: dict[str, Hold] = {}
    for teller in _tellers.values() if job_ids else ():
        found.update(teller(job_ids, viewer))
    return found
