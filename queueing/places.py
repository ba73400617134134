"""Where each job stands in the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from jobs.access import AnyUser
from jobs.models import Job
from queueing.explain import Explainer
from queueing.models import QueueEntry
from queueing.statuses import WAITING, EntryStatus
from queueing.waits import Waits

NOT_WAITING = {"queue_position": None, "waiting_reason": None, "estimated_wait_seconds": None}


def positions(entry_ids: Sequence[int]) -> dict[int, int]:
    """The places of waiting entries, from 1; entries that hold or end are left out."""
    if len(entry_ids) == 1:
        return _place_of_one(entry_ids[0])
    ordered = QueueEntry.objects.filter(status=EntryStatus.PENDING).annotate(
        place=Window(RowNumber(), order_by=[F("turn").asc(), F("id").asc()])
    )
    # As a plain filter the ids would be applied before the numbering, which would then number them alone; a condition
    # that names the number is applied after it.
    wanted = Q(pk__in=entry_ids) | Q(place__lt=1)
    return dict(ordered.filter(wanted).values_list("pk", "place"))


def _place_of_one(entry_id: int) -> dict[int, int]:
    """By counting those before it: every submission asks this, and must not number the whole queue for it."""
    waiting = QueueEntry.objects.filter(status=EntryStatus.PENDING)
    entry = waiting.filter(pk=entry_id).first()
    return {entry_id: before(entry).count() + 1} if entry else {}


def before(entry: QueueEntry) -> Any:
    """The entries that wait for their turn and have it before `entry`."""
    earlier = Q(turn__lt=entry.turn) | Q(turn=entry.turn, pk__lt=entry.pk)
    return QueueEntry.objects.filter(earlier, status=EntryStatus.PENDING)


def places_of(jobs: Sequence[Job], viewer: AnyUser) -> Mapping[str, Mapping[str, Any]]:
    """The facet of the queue: status, place and reason, by job id."""
    newest = QueueEntry.objects.filter(job__in=[job.pk for job in jobs]).select_related("job", "user", "organization")
    entries = {entry.job_id: entry for entry in newest.order_by("id")}
    told = tell_of([entry for entry in entries.values() if entry.status in WAITING], viewer)
    return {
        job_id: {"queue_status": entry.status, **told.get(entry.pk, NOT_WAITING)} for job_id, entry in entries.items()
    }


def tell_of(waiting: Sequence[QueueEntry], viewer: AnyUser) -> dict[int, dict[str, Any]]:
    """Place, reason and estimated wait of waiting entries, for `viewer`. Costs the same few queries for a page."""
    if not waiting:
        return {}
    explainer = Explainer(viewer)
    waits, places = Waits(explainer), positions([entry.pk for entry in waiting])
    told = {}
    for entry in waiting:
        wait = waits.of(entry)
        told[entry.pk] = {
            "queue_position": places.get(entry.pk),
            "waiting_reason": explainer.reason(entry),
            "estimated_wait_seconds": wait and wait.likely,
        }
    return told
