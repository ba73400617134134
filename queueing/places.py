"""Where each job stands in the queue, and why it waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from jobs.access import AnyUser
from jobs.models import Job
from queueing.limits import candidate_of, current_limits, current_usage, queue_state
from queueing.models import QueueEntry
from queueing.policy import reason_to_wait
from queueing.statuses import WAITING, EntryStatus

HELD = "It waits for an approval."
NEXT = "It starts in a moment."


def positions(entry_ids: Sequence[int]) -> dict[int, int]:
    """The places of waiting entries, from 1; entries that hold or end are left out."""
    ordered = QueueEntry.objects.filter(status=EntryStatus.PENDING).annotate(
        place=Window(RowNumber(), order_by=[F("effective_priority").desc(), F("id").asc()])
    )
    return dict(ordered.filter(pk__in=entry_ids).values_list("pk", "place"))


def places_of(jobs: Sequence[Job], viewer: AnyUser) -> Mapping[str, Mapping[str, Any]]:
    """The facet of the queue: status, place and reason, by job id."""
    newest = QueueEntry.objects.filter(job__in=[job.pk for job in jobs]).order_by("id")
    entries = {entry.job_id: entry for entry in newest}
    waiting = [entry for entry in entries.values() if entry.status in WAITING]
    reasons = waiting_reasons(waiting)
    places = positions([entry.pk for entry in waiting]) if waiting else {}
    return {
        job_id: {
            "queue_status": entry.status,
            "queue_position": places.get(entry.pk),
            "waiting_reason": reasons.get(entry.pk),
        }
        for job_id, entry in entries.items()
    }


def waiting_reasons(entries: Sequence[QueueEntry]) -> dict[int, str]:
    """Why each of the waiting `entries` waits, in one sentence."""
    if not entries:
        return {}
    usage, limits, now = current_usage(), current_limits(queue_state()), timezone.now()
    return {
        entry.pk: HELD
        if entry.status == EntryStatus.BLOCKED
        else reason_to_wait(candidate_of(entry), usage, limits, now) or NEXT
        for entry in entries
    }
