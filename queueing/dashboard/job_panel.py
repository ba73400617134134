"""The queue's panel on a job's page: position, reasons and expected wait."""

from __future__ import annotations

from typing import Any

from django.contrib.humanize.templatetags.humanize import ordinal

from cloudtrain_site.wording.values import rough_duration
from jobs.models import Job
from jobs.permissions import AnyUser
from jobs.statuses import JobStatus
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from queueing.waiting.estimates import Wait, WaitEstimates
from queueing.waiting.explain import NEXT, Explainer
from queueing.waiting.order import QueueOrder


def panel_for(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the panel's data of a waiting or unconfirmed job; None for any other."""
    entries = QueueEntry.objects.live().filter(job=job).select_related("user", "organization")
    entry = entries.order_by("id").last() if job.status == JobStatus.PENDING else None
    if entry is None:
        return None
    if entry.unconfirmed_at is not None:
        return {"entry": entry, "is_unconfirmed": True}
    return _waiting(entry, job, reader) if entry.status == EntryStatus.PENDING else None


def _waiting(entry: QueueEntry, job: Job, reader: AnyUser) -> dict[str, Any]:
    entry.job = job
    explainer = Explainer(reader, [entry])
    order = QueueOrder(explainer.limits, explainer.usage, explainer.now)
    position = order.positions([entry.pk]).get(entry.pk)
    return {
        "entry": entry,
        "position": position,
        "place": ordinal(position) if position else "",
        "blockers": list(explainer.explain(entry)),
        "next": NEXT,
        "wait": _wait_text(WaitEstimates(explainer, order, [entry]).of(entry)),
    }


def _wait_text(wait: Wait | None) -> str:
    """Return the expected wait in words, with its range when that has two ends; empty when it is unknown."""
    if wait is None:
        return ""
    likely, low, high = (rough_duration(seconds) for seconds in (wait.likely, wait.low, wait.high))
    return f"about {likely}" if low == high else f"about {likely} ({low} to {high})"
