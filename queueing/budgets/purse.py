"""What the budgets allow the queue to start now: counted down as entries are chosen. Pure but for its loading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from django.db.models import Q

from queueing.budgets.lefts import read_lefts
from queueing.budgets.sums import BudgetState, Owner, all_states
from queueing.models import QueueEntry, Scope
from queueing.policy import Candidate
from queueing.statuses import EntryStatus

MAX_CHEAPER = 200


@dataclass(slots=True)
class Room:
    """What is left of a budget in US dollars."""

    left: Decimal


@dataclass(slots=True)
class ShownRoom(Room):
    """The same, with the budget that pages tell of."""

    state: BudgetState


R = TypeVar("R", bound=Room)


class Purse(Generic[R]):
    """The rooms of all budgets, each with its scope, organization and user."""

    def __init__(self, rooms: Iterable[tuple[str, int | None, int | None, R]]) -> None:
        self._site: list[R] = []
        self._organizations: dict[int | None, list[R]] = defaultdict(list)
        self._users: dict[Owner, list[R]] = defaultdict(list)
        #: Of the organizations whose candidates were refused: the most that was left.
        self.left_of_refused: dict[int | None, Decimal] = {}
        for scope, organization_id, user_id, room in rooms:
            if scope == Scope.SITE:
                self._site.append(room)
            elif scope == Scope.ORGANIZATION:
                self._organizations[organization_id].append(room)
            else:
                self._users[organization_id, user_id].append(room)

    def rooms_of(self, candidate: Candidate) -> Sequence[R]:
        """Return the rooms that concern `candidate`."""
        own = self._users.get((candidate.organization_id, candidate.user_id), ())
        return [*self._site, *self._organizations.get(candidate.organization_id, ()), *own]

    def affords(self, candidate: Candidate) -> bool:
        """Whether every budget has room for the candidate's cost. An unknown cost needs that there is no budget."""
        room = self.obstacle(candidate)
        if room is None:
            return True
        organization = candidate.organization_id
        self.left_of_refused[organization] = max(room.left, self.left_of_refused.get(organization, room.left))
        return False

    def obstacle(self, candidate: Candidate) -> R | None:
        """Return the room that lacks most for `candidate`; None: it can go."""
        rooms = self.rooms_of(candidate)
        if not rooms:
            return None
        needs = candidate.needed_usd
        short = [room for room in rooms if needs is None or 0 < needs > room.left]
        return min(short, key=lambda room: room.left, default=None)

    def take(self, candidate: Candidate) -> None:
        """Count the candidate's cost as committed."""
        for room in self.rooms_of(candidate):
            room.left -= candidate.needed_usd or 0


def current_purse(now: datetime) -> Purse[Room] | None:
    """Return what the budgets allow at `now`; None: there is no budget. Read under the queue's lock to decide."""
    lefts = read_lefts(now)
    return Purse((scope, *owner, Room(left)) for scope, owner, left in lefts) if lefts else None


def shown_purse(now: datetime) -> Purse[ShownRoom] | None:
    """Return the same for pages."""
    found = [(state.budget, ShownRoom(state.left, state)) for state in all_states(now, with_people=False)]
    rooms = ((budget.scope, budget.organization_id, budget.user_id, room) for budget, room in found)
    return Purse(rooms) if found else None


def cheaper_than_refused(purse: Purse[Room], now: datetime) -> list[Candidate]:
    """Return waiting entries that cost less than is left where others were refused, the first MAX_CHEAPER."""
    lefts = {organization: left for organization, left in purse.left_of_refused.items() if left > 0}
    if not lefts:
        return []
    is_due = Q(not_before=None) | Q(not_before__lte=now)
    waiting = QueueEntry.objects.filter(is_due, status=EntryStatus.PENDING, organization__in=lefts)
    cheap = waiting.filter(needs_usd__gt=0, needs_usd__lte=max(lefts.values())).in_order()
    columns = ("pk", "user_id", "organization_id", "provider", "turn", "not_before", "needs_usd")
    return [Candidate(*row) for row in cheap.values_list(*columns)[:MAX_CHEAPER]]
