"""Why a held job is held, in the words of whoever holds it, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

#: Given the ids of held jobs, the sentence for each that it holds. Asked once a page, not once a job.
Teller = Callable[[Sequence[str]], Mapping[str, str]]

#: What is said of a held job that nobody has a word for.
UNKNOWN = "It waits for an approval."

_tellers: dict[str, Teller] = {}


def register(name: str, teller: Teller) -> None:
    """Have `teller` asked about held jobs. A second one of the same name replaces the first."""
    _tellers[name] = teller


def sentences(job_ids: Sequence[str]) -> dict[str, str]:
    """Why each of the held jobs is held, by its id."""
    told: dict[str, str] = {}
    for teller in _tellers.values() if job_ids else ():
        told.update(teller(job_ids))
    return told
