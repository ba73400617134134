"""A job's history for people: its five steps, what happened, and each event with its ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudtrain_site.api import as_utc
from cloudtrain_site.states import Source
from jobs.models import Job, JobEvent
from jobs.notices.history import SOURCES, TITLES, title_of
from jobs.providers import label_of, place_of
from jobs.statuses import JobStatus

#: More than a person reads; the API returns the rest.
MAX_MOMENTS = 200

#: Reasons that the title says already.
SELF_EVIDENT = ("submitted",)
#: What the queue does by itself matters to operators only: it is among the technical details.
OF_THE_QUEUE = frozenset({"blocked", "pending", "dispatching", "running", "completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Moment:
    at: datetime
    at_utc: str | None
    title: str
    #: Its mark in the stylesheet: the job's own status, or "side" for another subject's event.
    kind: str
    #: The person; empty for what the system did by itself.
    person: str
    reason: str
    #: For the technical details.
    move: str
    actor: str
    source: str
    correlation_id: str
    is_technical: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One of the five steps of every job."""

    label: str
    #: "done", "now", "bad" or "later", for the stylesheet.
    state: str
    text: str
    at: datetime | None = None

    @property
    def at_utc(self) -> str | None:
        return as_utc(self.at)


def history_for_page(job: Job) -> dict[str, Any]:
    """Return the steps of the job, and its newest events, newest first."""
    events = list(job.events.order_by("-id")[: MAX_MOMENTS + 1])
    moments = [_moment(event) for event in events[:MAX_MOMENTS]]
    return {
        "job": job,
        "steps": steps_of(job, events),
        "moments": [moment for moment in moments if not moment.is_technical],
        "technical": moments,
        "has_older": len(events) > MAX_MOMENTS,
    }


def steps_of(job: Job, events: Sequence[JobEvent]) -> list[Step]:
    """Return the five steps of the job, by its own columns and its events, the newest of these first."""
    return [_submitted(job), _approved(job, events), _queued(job, events), _started(job), _ended(job, events)]


def _submitted(job: Job) -> Step:
    if job.submitted_by is None and job.metadata.get("discovered"):
        return Step("Submitted", "done", f"Made at {label_of(job.provider)}", job.created_at)
    return Step("Submitted", "done", _by(job.submitted_by.get_username() if job.submitted_by else ""), job.created_at)


def _approved(job: Job, events: Sequence[JobEvent]) -> Step:
    # The request that held it: one for a higher cost comes when it runs.
    asked = [event for event in events if event.subject == "approval" and not _is_later(event, job.started_at)]
    decided = next((event for event in asked if event.old != event.new or event.new == "pending"), None)
    if decided is None:
        return Step("Approved", "done", "No approval was needed")
    title, text = TITLES[("approval", decided.new)], _by(_person(decided))
    if decided.new == "approved":
        return Step(title, "done", _with_reason(text, decided.reason), decided.at)
    if decided.new == "pending":
        return Step("Needs approval", "now", decided.reason)
    return Step(title, "bad", _with_reason(text, decided.reason), decided.at)


def _queued(job: Job, events: Sequence[JobEvent]) -> Step:
    queued = [event for event in events if event.subject == "queue_entry" and event.new == "pending"]
    first = next((event for event in reversed(queued) if event.old != event.new), None)
    if first is not None:
        is_now = job.status == JobStatus.PENDING
        return Step("Queued", "now" if is_now else "done", "In line" if is_now else "", first.at)
    if job.queued_at is not None:
        return Step("Queued", "done", f"At {label_of(job.provider)}", job.queued_at)
    return Step("Queued", "later", "Never" if job.is_terminal else "Not yet")


def _started(job: Job) -> Step:
    if job.started_at is None:
        return Step("Started", "later", "Never" if job.is_terminal else "Not yet")
    state = "done" if job.is_terminal else "now"
    return Step("Started", state, place_of(label_of(job.provider), job.hardware_profile), job.started_at)


def _ended(job: Job, events: Sequence[JobEvent]) -> Step:
    if not job.is_terminal:
        return Step("Ended", "later", "Not yet")
    title = TITLES[("job", job.status)]
    if job.status == JobStatus.FAILED:
        return Step(title, "bad", job.cause, job.completed_at)
    if job.status == JobStatus.COMPLETED:
        return Step(title, "done", "", job.completed_at)
    end = next((event for event in events if event.subject == Job.SUBJECT and event.new == job.status), None)
    return Step(title, "bad", _by(job.cancel_requested_by or (_person(end) if end else "")), job.completed_at)


def _is_later(event: JobEvent, moment: datetime | None) -> bool:
    return moment is not None and event.at > moment


def _by(person: str) -> str:
    return f"By {person}" if person else ""


def _with_reason(text: str, reason: str) -> str:
    return f"{text}: {reason}" if text and reason else text or reason


def _moment(event: JobEvent) -> Moment:
    is_of_job = event.subject == Job.SUBJECT
    return Moment(
        at=event.at,
        at_utc=as_utc(event.at),
        title=title_of(event),
        kind=event.new if is_of_job and event.old != event.new else "side",
        person=_person(event),
        reason="" if event.reason in SELF_EVIDENT else event.reason,
        move=f"{event.subject.replace('_', ' ')}: {event.old or 'new'} → {event.new}",
        actor=event.actor,
        source=SOURCES.get(event.source, event.source),
        correlation_id=event.correlation_id,
        is_technical=event.subject == "queue_entry" and event.old != event.new and event.new in OF_THE_QUEUE,
    )


def _person(event: JobEvent) -> str:
    """Return the name of the person who made the change; empty when the system did, by itself or for a provider."""
    is_persons = event.actor_user_id is not None or event.source in (Source.ADMIN, Source.DASHBOARD, Source.COMMAND)
    return event.actor if is_persons else ""
