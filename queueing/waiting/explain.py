"""Why an entry waits, as a sentence and as data, with the names that the viewer may see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone

from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.database.prepared import Prepared
from jobs.permissions import AnyUser, is_superuser, organization_ids_of
from jobs.providers import UnknownProviderError, label_of
from jobs.sync.clusters import unrunnable_profiles
from queueing import extensions
from queueing.budgets.outlook import BudgetReader
from queueing.budgets.purse import ShownRoom
from queueing.limits import candidate_of, current_limits, queue_state
from queueing.models import QueueEntry
from queueing.policy import Blocker, BlockerKind, Usage, blockers
from queueing.statuses import EntryStatus

#: A sentence with more names is hard to read.
NAMES_SHOWN = 3
NEXT = "Starts in a moment."

Kind = BlockerKind
LIMITS = (Kind.TOTAL, Kind.USER, Kind.ORGANIZATION, Kind.PROVIDER)
#: What would remove each blocker, in terms of a person's action.
LIFTED_BY = {
    Kind.APPROVAL: "A lead or an admin can approve the job.",
    Kind.PAUSED: "An admin can resume the queue.",
    Kind.DRAINED: "An admin can resume the provider.",
    Kind.SWITCHED_OFF: "An admin can enable the provider.",
    Kind.GONE: "An operator can add the provider again, or you can cancel the job.",
    Kind.RETRY: "The next try is automatic.",
    Kind.HARDWARE: "A suitable node must join the cluster, or you can submit the job with another hardware profile.",
    Kind.BUDGET: "The job can start in the next budget period, or after the budget is raised.",
    Kind.USER: "The job can start when another job of the submitter ends, or after the per-user limit is raised.",
    Kind.ORGANIZATION: "The job can start when another job of the organization ends, or after its limit is raised.",
    Kind.PROVIDER: "The job can start when another job at the provider ends, or after the provider's limit is raised.",
    Kind.TOTAL: "The job can start when another job ends, or after the total limit is raised.",
}


class Holder(NamedTuple):
    """An entry that takes a slot: hundreds may, so it is no model."""

    job_id: str
    config_name: str
    status: str
    user_id: int | None
    organization_id: int | None
    provider: str
    dispatched_at: datetime | None
    unconfirmed_at: datetime | None


#: The longest first.
_HOLDERS = Prepared(
    lambda: (
        QueueEntry.objects.taking_slots()
        .order_by("dispatched_at", "id")
        .values_list("job_id", "job__config_name", *Holder._fields[2:])
    )
)


@dataclass(frozen=True)
class Explained:
    kind: Kind
    sentence: str
    holders: tuple[Holder, ...] = ()
    #: Where the viewer sets the price for lack of which it waits; empty: nowhere.
    price_address: str = ""

    @property
    def lifted_by(self) -> str:
        """What would lift it, as a person can act on it."""
        return LIFTED_BY[self.kind]


class Explainer:
    """Explains the entries `waiting` to one viewer. Loads what runs, and the limits, once for all of them."""

    def __init__(self, viewer: AnyUser | None, waiting: Sequence[QueueEntry]) -> None:
        self.viewer = viewer
        self.now = timezone.now()
        self.usage = Usage()
        self._holders = defaultdict[tuple[Kind, int | str | None], list[Holder]](list)
        self._seen = defaultdict[tuple[Kind, int | str | None], list[Holder]](list)
        holders = [Holder(*row) for row in _HOLDERS()]
        sees_all = viewer is not None and is_superuser(viewer)
        own = organization_ids_of(viewer) if holders and viewer is not None and not sees_all else ()
        for holder in holders:
            self.usage.count(holder.user_id, holder.organization_id, holder.provider)
            is_seen = sees_all or holder.organization_id in own
            for kind in LIMITS:
                self._holders[kind, sharing(holder, kind)].append(holder)
                if is_seen:
                    self._seen[kind, sharing(holder, kind)].append(holder)
        state = queue_state()
        # A fair share depends on all organizations, a limit on the entries' own alone.
        concerned = None if state.fair_share else [entry.organization for entry in waiting]
        self.limits = current_limits(state, concerned)
        held = [entry.job_id for entry in waiting if entry.status == EntryStatus.BLOCKED]
        self._holds = extensions.find_holds(held, None)
        self._unrunnable = unrunnable_profiles({entry.provider for entry in waiting})
        self.budgets = BudgetReader(viewer, self.now)

    def explain(self, entry: QueueEntry) -> Iterator[Explained]:
        """Yield all that keeps a waiting `entry` from going; nothing when it can go in its turn."""
        if entry.status == EntryStatus.BLOCKED:
            hold = self._holds.get(entry.job_id)
            yield Explained(Kind.APPROVAL, hold.sentence if hold else extensions.UNKNOWN_HOLD)
            return
        if never := self.why_never(entry):
            yield Explained(Kind.HARDWARE, never)
        yield from self._budget(entry)
        for blocker in blockers(candidate_of(entry), self.usage, self.limits, self.now):
            yield self._explain(entry, blocker)

    def _budget(self, entry: QueueEntry) -> list[Explained]:
        candidate, hardware = candidate_of(entry), entry.job.hardware_profile
        sentence = self.budgets.waiting(candidate, hardware)
        if not sentence:
            return []
        return [Explained(Kind.BUDGET, sentence, price_address=self.budgets.price_address(candidate, hardware))]

    def lacking_room(self, entry: QueueEntry) -> ShownRoom | None:
        """Return the budget that keeps a waiting `entry` from going; None: there is none."""
        return self.budgets.obstacle(candidate_of(entry))

    def why_never(self, entry: QueueEntry) -> str:
        """Return why no node can run the entry's job, as far as its cluster was seen; empty when some can."""
        return self._unrunnable.get((entry.provider, entry.job.hardware_profile), "") if self._unrunnable else ""

    def reason(self, entry: QueueEntry) -> str:
        """Return the sentence of the blocker that is most specific to a waiting `entry`."""
        first = next(self.explain(entry), None)
        return first.sentence if first else NEXT

    def _explain(self, entry: QueueEntry, blocker: Blocker) -> Explained:
        if blocker.kind == Kind.PAUSED:
            return Explained(Kind.PAUSED, "The queue is paused until an admin resumes it.")
        if blocker.kind == Kind.DRAINED:
            return Explained(Kind.DRAINED, f"{label_of(entry.provider)} is being drained and accepts no new jobs.")
        if blocker.kind == Kind.SWITCHED_OFF:
            sentence = f"{label_of(entry.provider)} is disabled. The job starts when it is enabled again."
            return Explained(Kind.SWITCHED_OFF, sentence)
        if blocker.kind == Kind.GONE:
            return Explained(
                Kind.GONE, f"{UnknownProviderError(entry.provider)} The job starts when the provider is back."
            )
        if blocker.until is not None:
            return Explained(Kind.RETRY, _retry_sentence(entry, blocker.until, self.now))
        seen = self._seen.get((blocker.kind, sharing(entry, blocker.kind)), ())
        scope = self._scope(entry, blocker)
        return Explained(blocker.kind, _limit_sentence(scope, blocker, seen), tuple(seen))

    def holders(self, entry: QueueEntry, kind: Kind) -> list[Holder]:
        """Return what takes a slot of the limit of this kind that counts for `entry`, the longest first."""
        return self._holders.get((kind, sharing(entry, kind)), [])

    def _scope(self, entry: QueueEntry, blocker: Blocker) -> str:
        """Return whose limit has been reached, as the beginning of a sentence, for `reached` or `allows no jobs`."""
        if blocker.kind == Kind.USER:
            return self._whose(entry)
        if blocker.kind == Kind.ORGANIZATION:
            return f"The limit of {entry.organization.name if entry.organization else 'the organization'}"
        if blocker.kind == Kind.PROVIDER:
            return f"The limit of {'this machine' if entry.provider == 'local' else label_of(entry.provider)}"
        return "The total limit"

    def _whose(self, entry: QueueEntry) -> str:
        if self.viewer is not None and entry.user_id == self.viewer.pk:
            return "Your limit"
        is_named = entry.user is not None and self.viewer is not None
        return f"The limit of {entry.user}" if is_named else "The submitter's limit"


def sharing(entry: QueueEntry | Holder, kind: Kind) -> int | str | None:
    """Return what all entries have in common that share the limit of this kind with `entry`."""
    if kind == Kind.USER:
        return entry.user_id
    if kind == Kind.ORGANIZATION:
        return entry.organization_id
    return entry.provider if kind == Kind.PROVIDER else None


def _retry_sentence(entry: QueueEntry, until: datetime, now: datetime) -> str:
    seconds = max(1, round((until - now).total_seconds()))
    return f"The provider did not accept the job ({beginning(entry.last_error)}). Next try in {seconds} s."


def _limit_sentence(scope: str, blocker: Blocker, seen: Sequence[Holder]) -> str:
    if blocker.allowed == 0:
        return f"{scope} is 0, so no job can start."
    jobs = "job is" if blocker.taken == 1 else "jobs are"
    return f"{scope} is reached: {blocker.taken} of {blocker.allowed} {jobs} running{_names(seen, blocker.taken)}."


def _names(seen: Sequence[Holder], taken: int) -> str:
    """Name those that the viewer may see; the others are counted, not named."""
    if not seen:
        return ""
    shown = [_name(holder) for holder in seen[:NAMES_SHOWN]]
    rest = taken - len(shown)
    return f" ({', '.join(shown)}{f' and {rest} more' if rest else ''})"


def _name(holder: Holder) -> str:
    return f"{holder.config_name} (unconfirmed)" if holder.unconfirmed_at else holder.config_name
