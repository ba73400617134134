"""The decision who goes next and why the others wait: pure, from counted values."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from heapq import heapify, heappop, heapreplace
from typing import Protocol

#: Ageing: ten points of priority are worth one hour of waiting. So the order of two entries never changes by
#: itself, an index can hold it, and no entry is passed by one that came more than five hours (50 points) later.
SECONDS_PER_POINT = 360
#: Of a job's estimated cost.
STORED_PLACES = Decimal("0.0001")


def turn_of(enqueued_at: datetime, priority: int) -> float:
    """Return the moment by which entries are ordered, the earliest first: the arrival, and earlier for each point."""
    return enqueued_at.timestamp() - priority * SECONDS_PER_POINT


@dataclass(frozen=True, slots=True)
class Candidate:
    entry_id: int
    user_id: int | None
    organization_id: int | None
    provider: str
    turn: float = 0.0
    not_before: datetime | None = None
    #: What its job will cost at most in US dollars, as the database returns it; None: nobody can tell.
    needs: Decimal | float | None = None

    @property
    def needed_usd(self) -> Decimal | None:
        return None if self.needs is None else Decimal(self.needs).quantize(STORED_PLACES)

    @property
    def order(self) -> tuple[float, int]:
        """The sort key: the earliest turn first, then the first to come."""
        return (self.turn, self.entry_id)

    @property
    def lane(self) -> tuple[int | None, int | None, str]:
        """Entries of one lane meet the same limits."""
        return (self.organization_id, self.user_id, self.provider)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many jobs may run at once: in all, and for one user, organization and provider."""

    total: int
    per_user: int
    per_organization: int
    organizations: Mapping[int, int] = field(default_factory=dict)
    providers: Mapping[str, int] = field(default_factory=dict)
    drained: frozenset[str] = frozenset()
    switched_off: frozenset[str] = frozenset()
    #: The providers that there are; None: all that are named anywhere.
    existing: frozenset[str] | None = None
    paused: bool = False
    fair_share: bool = False

    def is_closed(self, provider: str) -> bool:
        """Whether nothing may start at the provider until a person says so."""
        return provider in self.drained or provider in self.switched_off or self.is_gone(provider)

    def is_gone(self, provider: str) -> bool:
        return self.existing is not None and provider not in self.existing

    def of_organization(self, organization_id: int | None) -> int:
        """Return the organization's own limit, or the general one."""
        own = None if organization_id is None else self.organizations.get(organization_id)
        return self.per_organization if own is None else own


class Affordable(Protocol):
    """What the budgets allow; see `queueing/budgets/purse.py`."""

    def affords(self, candidate: Candidate) -> bool: ...

    def take(self, candidate: Candidate) -> None: ...


@dataclass(slots=True)
class Usage:
    total: int = 0
    users: Counter[int | None] = field(default_factory=Counter)
    organizations: Counter[int | None] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Usage:
        return Usage(self.total, self.users.copy(), self.organizations.copy(), self.providers.copy())

    def add(self, candidate: Candidate) -> None:
        self.count(candidate.user_id, candidate.organization_id, candidate.provider)

    def count(self, user_id: int | None, organization_id: int | None, provider: str, slots: int = 1) -> None:
        self.total += slots
        self.users[user_id] += slots
        self.organizations[organization_id] += slots
        self.providers[provider] += slots


class BlockerKind(StrEnum):
    #: It waits for an approval.
    APPROVAL = "approval"
    #: Nothing starts at all.
    PAUSED = "paused"
    #: Nothing starts at its provider, which runs on what it has.
    DRAINED = "drained"
    #: Its provider is not used at all.
    SWITCHED_OFF = "switched_off"
    #: Its provider is no more.
    GONE = "gone"
    #: A try failed, and the next one is due later.
    RETRY = "retry"
    #: No node of its provider's cluster can run its profile; it goes all the same, and waits there.
    HARDWARE = "hardware"
    #: A budget has no room for its cost, or its cost is not known.
    BUDGET = "budget"
    #: Its submitter, organization or provider, or all together, are at their limit.
    USER = "user"
    ORGANIZATION = "organization"
    PROVIDER = "provider"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Blocker:
    """A reason that keeps an entry waiting; for a limit, how much of it is taken."""

    kind: BlockerKind
    taken: int = 0
    allowed: int = 0
    until: datetime | None = None


def blockers(candidate: Candidate, usage: Usage, limits: Limits, now: datetime) -> list[Blocker]:
    """Return all that keeps `candidate` from going now, its own limits first; empty when it can go."""
    waits = []
    if limits.paused:
        waits.append(Blocker(BlockerKind.PAUSED))
    if candidate.provider in limits.drained:
        waits.append(Blocker(BlockerKind.DRAINED))
    if candidate.provider in limits.switched_off:
        waits.append(Blocker(BlockerKind.SWITCHED_OFF))
    if limits.is_gone(candidate.provider):
        waits.append(Blocker(BlockerKind.GONE))
    if candidate.not_before is not None and candidate.not_before > now:
        waits.append(Blocker(BlockerKind.RETRY, until=candidate.not_before))
    return waits + [
        Blocker(kind, taken, allowed)
        for kind, taken, allowed in _limits_met(candidate, usage, limits)
        if allowed is not None and taken >= allowed
    ]


def _limits_met(candidate: Candidate, usage: Usage, limits: Limits) -> Iterator[tuple[BlockerKind, int, int | None]]:
    organization = candidate.organization_id
    yield BlockerKind.USER, usage.users[candidate.user_id], limits.per_user
    yield BlockerKind.ORGANIZATION, usage.organizations[organization], limits.of_organization(organization)
    yield BlockerKind.PROVIDER, usage.providers[candidate.provider], limits.providers.get(candidate.provider)
    yield BlockerKind.TOTAL, usage.total, limits.total


def can_go(candidate: Candidate, usage: Usage, limits: Limits, now: datetime) -> bool:
    """Whether nothing keeps `candidate` from going now. Like `blockers`, but cheaper: a pass calls it often."""
    if limits.paused or limits.is_closed(candidate.provider) or usage.total >= limits.total:
        return False
    if candidate.not_before is not None and candidate.not_before > now:
        return False
    if usage.users[candidate.user_id] >= limits.per_user:
        return False
    if usage.organizations[candidate.organization_id] >= limits.of_organization(candidate.organization_id):
        return False
    allowed = limits.providers.get(candidate.provider)
    return allowed is None or usage.providers[candidate.provider] < allowed


def choose(
    candidates: Iterable[Candidate],
    usage: Usage,
    limits: Limits,
    now: datetime,
    *,
    at_most: int | None = None,
    depth: int | None = None,
    purse: Affordable | None = None,
) -> list[int]:
    """Return the entries that go now, in their order. An entry at its limit never blocks those behind it.

    `usage` and `purse` are counted as entries are chosen. `depth` is the number of candidates of each lane: when a
    lane's are used up and it could go on, the choice ends there, since its next entry may come before all others.
    """
    chosen: list[int] = []
    taken: Counter[object] = Counter()
    # What can't go at the start can't go later in the same choice either: usage only grows.
    able = [candidate for candidate in candidates if can_go(candidate, usage, limits, now)]
    for candidate in _by_fair_share(able, usage, limits) if limits.fair_share else sorted(able, key=_order):
        if usage.total >= limits.total or len(chosen) == at_most:
            break
        if not can_go(candidate, usage, limits, now) or (purse is not None and not purse.affords(candidate)):
            continue
        usage.add(candidate)
        if purse is not None:
            purse.take(candidate)
        chosen.append(candidate.entry_id)
        taken[candidate.lane] += 1
        if taken[candidate.lane] == depth and can_go(candidate, usage, limits, now):
            break
    return chosen


def _order(candidate: Candidate) -> tuple[float, int]:
    return (candidate.turn, candidate.entry_id)


def in_queue_order(waiting: Collection[Candidate], usage: Usage, limits: Limits, now: datetime) -> Iterator[Candidate]:
    """Yield all that wait, in the order of their turns. Those of them that can go make what `choose` returns.

    An entry at a limit keeps its place, and is passed by those behind. With fair share the places depend on what runs:
    they are those of the slots that become free from now on.
    """
    if not limits.fair_share:
        yield from sorted(waiting, key=_order)
        return
    counted = usage.copy()
    # A full queue and a pause stop everybody alike, so they change no place.
    unlimited = replace(limits, total=usage.total + len(waiting) + 1, paused=False)
    for candidate in _by_fair_share(waiting, counted, limits):
        if can_go(candidate, counted, unlimited, now):
            counted.add(candidate)
        yield candidate


def _by_fair_share(candidates: Iterable[Candidate], usage: Usage, limits: Limits) -> Iterator[Candidate]:
    """Yield the candidates, each time from the organization that uses least of its share at that moment.

    The caller counts a candidate in `usage`, or leaves it uncounted, before it takes the next.
    """
    by_organization: dict[int | None, deque[Candidate]] = defaultdict(deque)
    for candidate in sorted(candidates, key=_order):
        by_organization[candidate.organization_id].append(candidate)

    def rank(organization: int | None) -> tuple[float, tuple[float, int], int | None]:
        return (share_taken(organization, usage, limits), by_organization[organization][0].order, organization)

    ranks = [rank(organization) for organization in by_organization]
    heapify(ranks)
    while ranks:
        organization = ranks[0][2]
        yield by_organization[organization].popleft()
        # Only this organization's share can have grown meanwhile.
        if by_organization[organization]:
            heapreplace(ranks, rank(organization))
        else:
            heappop(ranks)


def share_taken(organization_id: int | None, usage: Usage, limits: Limits) -> float:
    """Return the part of its share that an organization uses. Its share is its limit."""
    return usage.organizations[organization_id] / max(1, limits.of_organization(organization_id))
