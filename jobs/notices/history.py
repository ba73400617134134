"""The words for the events of a job's history."""

from __future__ import annotations

from collections.abc import Mapping

from cloudtrain_site.states import Source
from jobs.models import Job, JobEvent
from jobs.statuses import CANCEL_REQUESTED

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
    ("queue_entry", "pending"): "Queued",
    ("queue_entry", "dispatching"): "Sent to the provider",
    ("queue_entry", "running"): "Took a slot",
    ("queue_entry", "completed"): "Left the queue",
    ("queue_entry", "failed"): "Left the queue",
    ("queue_entry", "cancelled"): "Left the queue",
    ("approval", "pending"): "Approval requested",
    ("approval", "approved"): "Approved",
    ("approval", "rejected"): "Rejected",
    ("approval", "expired"): "Approval request expired",
    ("approval", "cancelled"): "Approval request withdrawn",
}
FIRSTS: Mapping[str, str] = {"job": "Submitted", "queue_entry": "Queued"}
NOTES: Mapping[str, str] = {
    "job": "Noted",
    "queue_entry": "Priority changed",
    "approval": "Reviewed",
    "comment": "Comment",
}
SOURCES: Mapping[str, str] = {
    Source.API: "the API",
    Source.DASHBOARD: "the dashboard",
    Source.ADMIN: "the admin",
    Source.WEBHOOK: "a webhook",
    Source.POLL: "polling",
    Source.LOOP: "a background loop",
    Source.COMMAND: "a command",
    Source.DISPATCHER: "the dispatcher",
}


def title_of(event: JobEvent) -> str:
    """Return in a few words what happened."""
    if event.old == event.new:
        is_cancel_request = event.subject == Job.SUBJECT and event.reason.startswith(CANCEL_REQUESTED)
        return "Cancellation requested" if is_cancel_request else NOTES.get(event.subject, event.subject)
    if not event.old and event.new == "pending" and event.subject in FIRSTS:
        return FIRSTS[event.subject]
    if not event.old and event.subject == Job.SUBJECT:
        return "Found at the provider"
    return TITLES.get((event.subject, event.new), f"{event.subject.replace('_', ' ').capitalize()}: {event.new}")
