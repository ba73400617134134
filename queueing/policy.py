"""Who goes next and why the others wait: pure, from what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting entry, as far as the decision needs it."""

    entry_id: int
    user_id: int | None
    organization_id: int | None
    provider: str
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may run at once: in all, and for one user, organization and provider."""

    total: int
    per_user: int
    per_organization: int
    organizations: Mapping[int, int] = field(default_factory=dict)
    providers: Mapping[str, int] = field(default_factory=dict)
    paused: bool = False

    def of_organization(self, organization_id: int | None) -> int:
        """The organization's own number when it has one."""
        own = None if organization_id is None else self.organizations.get(organization_id)
        return self.per_organization if own is None else own


@dataclass(slots=True)
class Usage:
    """How many slots are taken, and by whom."""

    total: int = 0
    users: Counter[int | None] = field(default_factory=Counter)
    organizations: Counter[int | None] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)

    def add(self, candidate: Candidate) -> None:
        """Count `candidate` as one that holds a slot."""
        self.total += 1
        self.users[candidate.user_id] += 1
        self.organizations[candidate.organization_id] += 1
        self.providers[candidate.provider] += 1


def reason_to_wait(candidate: Candidate, usage: Usage, limits: Limits, now: datetime) -> str | None:
    """Why `candidate` can't go now, in one sentence; None when it can."""
    if limits.paused:
        return "The queue is paused; it goes on when a lead resumes it."
    if candidate.not_before is not None and candidate.not_before > now:
        seconds = (candidate.not_before - now).total_seconds()
        return f"The provider did not take it just now; the next try is in {max(1, round(seconds))} s."
    if usage.total >= limits.total:
        return _full(usage.total, limits.total, "jobs are running")
    return _personal_reason(candidate, usage, limits)


def _personal_reason(candidate: Candidate, usage: Usage, limits: Limits) -> str | None:
    of_provider = limits.providers.get(candidate.provider)
    running_there = usage.providers[candidate.provider]
    if of_provider is not None and running_there >= of_provider:
        return _full(running_there, of_provider, f"places at {candidate.provider} are taken")
    running = usage.users[candidate.user_id]
    if running >= limits.per_user:
        return _full(running, limits.per_user, "jobs that one person may run are running")
    running = usage.organizations[candidate.organization_id]
    allowed = limits.of_organization(candidate.organization_id)
    if running >= allowed:
        return _full(running, allowed, "jobs that the organization may run are running")
    return None


def _full(taken: int, allowed: int, what: str) -> str:
    if allowed == 0:
        return f"None of the {what.split(' ')[0]} may run at present: the limit is 0."
    return f"{taken} of {allowed} {what}; the next one starts when one ends."


def choose(candidates: Iterable[Candidate], usage: Usage, limits: Limits, now: datetime) -> list[int]:
    """The entries that go now, out of `candidates` in their order. One at its limit never blocks those behind it.

    `usage` is counted up as entries are chosen.
    """
    chosen: list[int] = []
    for candidate in candidates:
        if limits.paused or usage.total >= limits.total:
            break
        if reason_to_wait(candidate, usage, limits, now) is None:
            usage.add(candidate)
            chosen.append(candidate.entry_id)
    return chosen
