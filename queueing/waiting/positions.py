"""The positions of jobs in the queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cloudtrain_site.database.prepared import Prepared
from jobs.models import Job
from jobs.permissions import AnyUser
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from queueing.waiting.estimates import WaitEstimates
from queueing.waiting.explain import Explainer
from queueing.waiting.order import QueueOrder

NO_PLACE = {"queue_position": None, "estimated_wait_seconds": None}
NOT_WAITING = {**NO_PLACE, "waiting_reason": None}
FIELDS = frozenset(("queue_status", *NOT_WAITING))
_ENTRIES = Prepared(lambda *jobs: QueueEntry.objects.filter(job__in=jobs).order_by("id"))


def positions_of(jobs: Sequence[Job], viewer: AnyUser, fields: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return the queue's fields of jobs: status, place and reason, by job id."""
    if FIELDS.isdisjoint(fields):
        return {}
    by_id = {job.pk: job for job in jobs}
    entries = {entry.job_id: entry for entry in _ENTRIES.of_each(list(by_id))}
    # Why an entry is held is said by the room that holds it, in its own fields.
    waiting = [entry for entry in entries.values() if entry.status == EntryStatus.PENDING]
    for entry in waiting:
        # An entry's organization and user are its job's, which are at hand.
        job = entry.job = by_id[entry.job_id]
        entry.organization, entry.user = job.organization, job.submitted_by
    facts = waiting_facts(waiting, viewer, estimates="estimated_wait_seconds" in fields)
    # Why a job waits at its provider is known to the room below.
    shown = {job_id: facts.get(entry.pk, NO_PLACE) for job_id, entry in entries.items()}
    return {job_id: {"queue_status": entry.status, **shown[job_id]} for job_id, entry in entries.items()}


def waiting_facts(
    waiting: Sequence[QueueEntry], viewer: AnyUser, *, estimates: bool = True
) -> dict[int, dict[str, Any]]:
    """Return place, reason and estimated wait of waiting entries, for `viewer`. A page costs the same few queries.

    The waits cost as much as the rest: without `estimates` they are left out.
    """
    if not waiting:
        return {}
    explainer = Explainer(viewer, waiting)
    order = QueueOrder(explainer.limits, explainer.usage, explainer.now)
    waits = WaitEstimates(explainer, order, waiting) if estimates else None
    positions = order.positions([entry.pk for entry in waiting])
    facts = {}
    for entry in waiting:
        wait = waits and waits.of(entry)
        facts[entry.pk] = {
            "queue_position": positions.get(entry.pk),
            "waiting_reason": explainer.reason(entry),
            "estimated_wait_seconds": wait and wait.likely,
        }
    return facts
