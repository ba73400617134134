"""The probable wait of a job, from the durations of jobs like it. There is none while no such job has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from statistics import quantiles

from django.db.models import F, QuerySet

from cloudtrain_site.database.prepared import Prepared
from jobs.models import Job, JobQuerySet
from jobs.statuses import JobStatus
from queueing.models import QueueEntry
from queueing.policy import BlockerKind, Candidate, Usage
from queueing.statuses import EntryStatus
from queueing.waiting.explain import Explainer, sharing
from queueing.waiting.order import QueueOrder

#: Finished jobs of the same provider and hardware.
SAMPLE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait in seconds: the likely one, and the range from the quartiles of past jobs' durations."""

    likely: float
    low: float
    high: float


Lengths = tuple[float, float, float]
#: The number of entries ahead, for each limit.
Before = Mapping[BlockerKind, int]
#: Provider and hardware.
JobKind = tuple[str, str]


class WaitEstimates:
    """The estimates for one page of waiting entries, with one query for the durations of jobs like them."""

    def __init__(self, explainer: Explainer, order: QueueOrder, waiting: Sequence[QueueEntry]) -> None:
        self.explainer = explainer
        self._before = _counted_before({entry.pk for entry in waiting}, order.front)
        self._lengths = _past_lengths({_kind_of(entry) for entry in waiting if entry.status == EntryStatus.PENDING})
        self._kept: dict[tuple[BlockerKind, int | str | None, float], list[float]] = {}

    def of(self, entry: QueueEntry) -> Wait | None:
        """Return the estimate for `entry`; None when it is held, too far behind, or no job like it has ended."""
        if entry.status != EntryStatus.PENDING or self._is_stopped(entry) or self.explainer.why_never(entry):
            return None
        if self.explainer.lacking_room(entry):
            return None
        lengths = self._lengths.get(_kind_of(entry))
        before = self._before.get(entry.pk)
        if lengths is None or before is None:
            return None
        likely, low, high = (max(self._for_each_limit(entry, before, length)) for length in lengths)
        return Wait(likely, low, high)

    def _is_stopped(self, entry: QueueEntry) -> bool:
        """Whether a person has to act first: durations don't tell when."""
        limits = self.explainer.limits
        return limits.paused or limits.is_closed(entry.provider) or 0 in self._allowed(entry).values()

    def _allowed(self, entry: QueueEntry) -> dict[BlockerKind, int | None]:
        limits = self.explainer.limits
        return {
            BlockerKind.TOTAL: limits.total,
            BlockerKind.USER: limits.per_user,
            BlockerKind.ORGANIZATION: limits.of_organization(entry.organization_id),
            BlockerKind.PROVIDER: limits.providers.get(entry.provider),
        }

    def _for_each_limit(self, entry: QueueEntry, before: Before, length: float) -> Iterable[float]:
        """Yield the wait that each limit alone would cause, if every job took `length` seconds."""
        for kind, slots in self._allowed(entry).items():
            if slots:
                rounds, place = divmod(before[kind], slots)
                yield round(self._ends(entry, kind, slots, length)[place] + rounds * length, 1)
        yield 0.0

    def _ends(self, entry: QueueEntry, kind: BlockerKind, slots: int, length: float) -> Sequence[float]:
        """Return in how many seconds each slot of that limit becomes free, the first one first.

        Entries that share limit and length share the list.
        """
        key = (kind, sharing(entry, kind), length)
        if key not in self._kept:
            now, holders = self.explainer.now, self.explainer.holders(entry, kind)
            ages = [(now - (holder.dispatched_at or now)).total_seconds() for holder in holders]
            ends = sorted(max(0.0, length - age) for age in ages)
            # After a limit was lowered more run than it allows: the first ends free nothing.
            surplus = max(0, len(ends) - slots)
            self._kept[key] = [0.0] * max(0, slots - len(ends)) + ends[surplus:]
        return self._kept[key]


def likely_lengths(running: Sequence[QueueEntry]) -> dict[int, float]:
    """Return how many seconds each runs if it takes as long as jobs like it; those without any are left out."""
    lengths = _past_lengths({_kind_of(entry) for entry in running})
    return {entry.pk: lengths[_kind_of(entry)][0] for entry in running if _kind_of(entry) in lengths}


def _counted_before(entry_ids: Collection[int], front: Iterable[Candidate]) -> dict[int, Before]:
    """Return how many wait before each entry for each of its limits; entries outside of `front` are left out."""
    usage, before = Usage(), dict[int, Before]()
    for other in front:
        if other.entry_id in entry_ids:
            before[other.entry_id] = {
                BlockerKind.TOTAL: usage.total,
                BlockerKind.USER: usage.users[other.user_id],
                BlockerKind.ORGANIZATION: usage.organizations[other.organization_id],
                BlockerKind.PROVIDER: usage.providers[other.provider],
            }
        usage.add(other)
    return before


def _kind_of(entry: QueueEntry) -> JobKind:
    return entry.provider, entry.job.hardware_profile


def _past_lengths(kinds: Collection[JobKind]) -> dict[JobKind, Lengths]:
    """Return the durations of the last jobs of each kind; a kind of which none has ended is left out."""
    if not kinds:
        return {}
    lengths: defaultdict[JobKind, list[float]] = defaultdict(list)
    for provider, hardware, took in _LAST(*chain.from_iterable(kinds)):
        lengths[provider, hardware].append(took.total_seconds())
    return {kind: _median_and_quartiles(seconds) for kind, seconds in lengths.items()}


def _last(*kinds: str) -> QuerySet[Job, tuple[str, str, timedelta]]:
    """Return the last jobs of each kind: its provider and then its hardware are arguments."""
    ended = Job.objects.filter(status=JobStatus.COMPLETED, completed_at__gt=F("started_at"))
    pairs = zip(kinds[::2], kinds[1::2], strict=True)
    # An index gives each kind's last jobs, and a page with many kinds is one query. With OR in place of the union
    # PostgreSQL would read every job.
    first, *others = [_newest(ended.filter(provider=provider, hardware_profile=kind)) for provider, kind in pairs]
    return first.union(*others, all=True)


_LAST = Prepared(_last)


def _newest(alike: JobQuerySet) -> QuerySet[Job, tuple[str, str, timedelta]]:
    # The limit is in a query of its own: SQLite allows none in a part of a union.
    newest = Job.objects.filter(pk__in=alike.order_by("-completed_at").values("pk")[:SAMPLE_SIZE])
    took = newest.annotate(took=F("completed_at") - F("started_at"))
    return took.values_list("provider", "hardware_profile", "took")


def _median_and_quartiles(lengths: Sequence[float]) -> Lengths:
    if len(lengths) == 1:
        return lengths[0], lengths[0], lengths[0]
    low, middle, high = quantiles(lengths, n=4, method="inclusive")
    return middle, low, high
