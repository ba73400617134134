"""A job's history for people: each event, its actor, its source, and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cloudtrain_site.api import as_utc
from cloudtrain_site.states import Source
from jobs.models import Job, JobEvent
from jobs.statuses import CANCEL_REQUESTED

#: More than a person reads; the API returns the rest.
MAX_MOMENTS = 200

#: The meaning of a subject's move to a status. A missing pair is shown by its own names.
TITLES: Mapping[tuple[str, str], str] = {
    ("job", "pending"): "Waiting again",
    ("job", "uploading"): "Uploading its dataset",
    ("job", "queued"): "Accepted by the provider",
    ("job", "running"): "Started",
    ("job", "completed"): "Completed",
    ("job", "failed"): "Failed",
    ("job", "cancelled"): "Cancelled",
    ("queue_entry", "blocked"): "Held in the queue",
    ("queue_entry", "pending"): "Waits for its turn",
    ("queue_entry", "dispatching"): "Handed to the provider",
    ("queue_entry", "running"): "Takes a slot",
    ("queue_entry", "completed"): "Left the queue",
    ("queue_entry", "failed"): "Left the queue",
    ("queue_entry", "cancelled"): "Left the queue",
    ("approval", "pending"): "Approval asked for",
    ("approval", "approved"): "Approved",
    ("approval", "rejected"): "Rejected",
    ("approval", "expired"): "Approval ran out of time",
    ("approval", "cancelled"): "Approval request withdrawn",
}
FIRSTS: Mapping[str, str] = {"job": "Submitted", "queue_entry": "Joined the queue"}
NOTES: Mapping[str, str] = {"job": "Noted", "queue_entry": "Noted in the queue", "approval": "Reviewed"}
SOURCES: Mapping[str, str] = {
    Source.API: "the API",
    Source.ADMIN: "the admin",
    Source.WEBHOOK: "a webhook",
    Source.POLL: "polling",
    Source.LOOP: "a background loop",
    Source.COMMAND: "a command",
    Source.DISPATCHER: "the dispatcher",
}
#: Reasons that the title says already.
SELF_EVIDENT = ("submitted",)


@dataclass(frozen=True, slots=True)
class Moment:
    at: datetime
    at_utc: str | None
    title: str
    #: Its mark in the stylesheet: the job's own status, or "side" for another subject's event.
    kind: str
    actor: str
    source: str
    reason: str
    correlation_id: str


def history_of(job: Job) -> tuple[list[Moment], bool]:
    """Return the newest moments, newest first, and whether there are older ones."""
    events = list(job.events.order_by("-id")[: MAX_MOMENTS + 1])
    return [_moment(event) for event in events[:MAX_MOMENTS]], len(events) > MAX_MOMENTS


def _moment(event: JobEvent) -> Moment:
    title, reason = _title(event), event.reason
    return Moment(
        at=event.at,
        at_utc=as_utc(event.at),
        title=title,
        kind=event.new if event.subject == Job.SUBJECT and event.old != event.new else "side",
        actor=event.actor,
        source=SOURCES.get(event.source, event.source),
        reason="" if reason in SELF_EVIDENT else reason,
        correlation_id=event.correlation_id,
    )


def _title(event: JobEvent) -> str:
    if event.old == event.new:
        is_cancel_request = event.subject == Job.SUBJECT and event.reason.startswith(CANCEL_REQUESTED)
        return "Asked to stop" if is_cancel_request else NOTES.get(event.subject, f"{event.subject}: {event.new}")
    if not event.old and event.new == "pending" and event.subject in FIRSTS:
        return FIRSTS[event.subject]
    if not event.old and event.subject == Job.SUBJECT:
        return "Found at the provider"
    return TITLES.get((event.subject, event.new), f"{event.subject}: {event.new}")
