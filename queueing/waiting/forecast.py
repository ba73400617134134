"""The place and the wait of a job if it were submitted now. Stores nothing."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.utils import timezone

from jobs.costs import ledger
from jobs.models import Job, Organization
from jobs.permissions import role_in
from queueing.budgets.outlook import Outlook
from queueing.claims import PRIORITIES
from queueing.limits import candidate_of
from queueing.models import QueueEntry
from queueing.policy import turn_of
from queueing.statuses import EntryStatus
from queueing.waiting.estimates import WaitEstimates
from queueing.waiting.explain import Explainer
from queueing.waiting.order import QueueOrder

#: An id that no stored entry has.
UNSTORED = 0


@dataclass(frozen=True, slots=True)
class StartEstimate:
    """A job's place, why it would wait there, and for how many seconds; None when that can't be known."""

    position: int
    reason: str
    wait: float | None
    #: What the budgets leave for it; None: no budget concerns it.
    budget: Outlook | None


def estimate_start(job: Job, user: User, organization: Organization) -> StartEstimate:
    """Return the forecast for a job of `user`, not stored, that needs no approval."""
    entry = _entry(job, user, organization)
    explainer = Explainer(user, [entry])
    order = QueueOrder(explainer.limits, explainer.usage, explainer.now)
    if not explainer.limits.fair_share:
        order.front = [other for other in order.front if other.turn <= entry.turn]
    order.front.append(candidate_of(entry))
    wait = WaitEstimates(explainer, order, [entry]).of(entry)
    waiting = QueueEntry.objects.filter(status=EntryStatus.PENDING)
    before = waiting if explainer.limits.fair_share else waiting.filter(turn__lte=entry.turn)
    return StartEstimate(
        position=before.count() + 1,
        reason=explainer.reason(entry),
        wait=None if wait is None else wait.likely,
        budget=explainer.budgets.of_job(job),
    )


def _entry(job: Job, user: User, organization: Organization) -> QueueEntry:
    role, now = role_in(user, organization), timezone.now()
    priority = PRIORITIES[role] if role else 0
    return QueueEntry(
        pk=UNSTORED,
        job=job,
        organization=organization,
        user=user,
        provider=job.provider,
        needs_usd=ledger.expected_cost(job),
        priority=priority,
        turn=turn_of(now, priority),
        enqueued_at=now,
        status=EntryStatus.PENDING,
    )
