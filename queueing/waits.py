"""About how long a waiting job will wait, from how long jobs like it took. Nothing is said when none is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import quantiles

from django.db.models import F

from jobs.models import Job
from jobs.statuses import JobStatus
from queueing.explain import Explainer
from queueing.models import QueueEntry
from queueing.policy import BlockerKind
from queueing.statuses import EntryStatus

#: Finished jobs of the same provider and hardware that the estimate rests on.
SAMPLE = 20
#: Nothing is said of who stands further behind: it would cost much and mean little.
LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait in seconds: the likely one, and the range that half of the past jobs' lengths make of it."""

    likely: float
    low: float
    high: float


Lengths = tuple[float, float, float]


class Waits:
    """The estimates for one page of waiting entries. Loads the front of the queue once for all of them."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer = explainer
        waiting = QueueEntry.objects.filter(status=EntryStatus.PENDING).in_order()
        self.front = list(waiting.values_list("pk", "user_id", "organization_id", "provider")[:LOOKED_AT])
        self._lengths: dict[tuple[str, str], Lengths | None] = {}

    def of(self, entry: QueueEntry) -> Wait | None:
        """The estimate for a waiting `entry`; None when it is held, or nothing like it has ended yet."""
        if entry.status != EntryStatus.PENDING or self._is_stopped(entry):
            return None
        lengths = self._lengths_of(entry.provider, entry.job.hardware_profile)
        before = self._before(entry)
        if lengths is None or before is None:
            return None
        likely, low, high = (max(self._for_each_limit(entry, before, length)) for length in lengths)
        return Wait(likely, low, high)

    def _is_stopped(self, entry: QueueEntry) -> bool:
        """Whether a person has to do something first: no length of jobs says when."""
        limits = self.explainer.limits
        return limits.paused or entry.provider in limits.drained

    def _before(self, entry: QueueEntry) -> Counter[BlockerKind] | None:
        """How many wait before it for each of its limits; None when it stands too far behind."""
        before: Counter[BlockerKind] = Counter()
        for pk, user_id, organization_id, provider in self.front:
            if pk == entry.pk:
                return before
            before[BlockerKind.TOTAL] += 1
            before[BlockerKind.USER] += user_id == entry.user_id
            before[BlockerKind.ORGANIZATION] += organization_id == entry.organization_id
            before[BlockerKind.PROVIDER] += provider == entry.provider
        return None

    def _for_each_limit(self, entry: QueueEntry, before: Counter[BlockerKind], length: float) -> Iterable[float]:
        """What each limit alone would make it wait, if every job took `length` seconds."""
        limits = self.explainer.limits
        allowed = {
            BlockerKind.TOTAL: limits.total,
            BlockerKind.USER: limits.per_user,
            BlockerKind.ORGANIZATION: limits.of_organization(entry.organization_id),
            BlockerKind.PROVIDER: limits.providers.get(entry.provider),
        }
        for kind, slots in allowed.items():
            if slots:
                left = [self._left(holder, length) for holder in self.explainer.holders(entry, kind)]
                yield wait_for_slot(left, slots, before[kind], length)
        yield 0.0

    def _left(self, holder: QueueEntry, length: float) -> float:
        began: datetime = holder.dispatched_at or self.explainer.now
        return max(0.0, length - (self.explainer.now - began).total_seconds())

    def _lengths_of(self, provider: str, hardware: str) -> Lengths | None:
        key = (provider, hardware)
        if key not in self._lengths:
            self._lengths[key] = _past_lengths(provider, hardware)
        return self._lengths[key]


def wait_for_slot(left: Sequence[float], slots: int, before: int, length: float) -> float:
    """Seconds until one of `slots` is free for somebody with `before` others ahead.

    `left` is what those that hold the slots still need; everybody else takes `length`.
    """
    ends = sorted(left)
    # More may run than have slots now, when the limit was lowered: the first ends free nothing.
    surplus = max(0, len(ends) - slots)
    ends = [0.0] * max(0, slots - len(ends)) + ends[surplus:]
    rounds, place = divmod(before, slots)
    return round(ends[place] + rounds * length, 1)


def _past_lengths(provider: str, hardware: str) -> Lengths | None:
    """The median and the quartiles of how long the last jobs like it took, in seconds."""
    ended = Job.objects.filter(provider=provider, hardware_profile=hardware, status=JobStatus.COMPLETED)
    newest = ended.exclude(started_at=None).order_by("-completed_at").annotate(took=F("completed_at") - F("started_at"))
    lengths = [took.total_seconds() for took in newest.values_list("took", flat=True)[:SAMPLE]]
    if not lengths:
        return None
    if len(lengths) == 1:
        return lengths[0], lengths[0], lengths[0]
    low, middle, high = quantiles(lengths, n=4, method="inclusive")
    return middle, low, high
