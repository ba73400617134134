"""A job as a line of the list: what it is called there, what is said about it, what may be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.urls import reverse

from jobs.access import AnyUser, Team, is_superuser, teams_of
from jobs.facets import facets_of
from jobs.models import Job, JobEvent
from jobs.representation import represent
from jobs.roles import MANAGERS, SUBMITTERS
from jobs.statuses import JobStatus

#: What the chip says, and its kind for the stylesheet, by status.
LABELS: Mapping[str, str] = {
    JobStatus.PENDING: "Waiting",
    JobStatus.UPLOADING: "Uploading",
    JobStatus.QUEUED: "Queued",
    JobStatus.RUNNING: "Running",
    JobStatus.COMPLETED: "Completed",
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Cancelled",
    "held": "Held",
    "cancelling": "Cancelling",
}
#: From here on a sentence is folded: its beginning is shown, the rest on demand.
LONG = 140
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list."""

    job: Job
    #: The job as the API shows it.
    facts: dict[str, Any]
    #: The job's status, or "held" or "cancelling": what the chip shows.
    kind: str
    #: The sentence that explains the status; empty when the progress bar does.
    note: str
    may_cancel: bool
    may_retry: bool
    may_delete: bool
    #: Where it is decided, for those who may.
    review_address: str | None
    names_organization: bool

    @property
    def label(self) -> str:
        """The word on the chip."""
        return LABELS[self.kind]

    @property
    def address(self) -> str:
        """The page of this job alone."""
        return reverse("job-page", args=[self.job.pk])

    @property
    def waits(self) -> bool:
        """Whether what is said of it depends on the others in the queue."""
        return self.job.status == JobStatus.PENDING

    @property
    def percent(self) -> int | None:
        """How far it is, in whole percent, rounded down: 100 means that it is done."""
        return None if self.job.progress is None else int(self.job.progress)

    @property
    def is_long(self) -> bool:
        """Whether the note is folded."""
        return len(self.note) > LONG or "\n" in self.note

    @property
    def cost(self) -> str:
        """What it cost, or is expected to; empty when neither is known."""
        if self.job.cost_usd > 0:
            return money(self.job.cost_usd)
        expected = self.job.estimated_cost_usd
        return f"~{money(expected)}" if expected and not self.job.is_terminal else ""

    @property
    def ran(self) -> int:
        """For how many milliseconds; -1 before it started."""
        seconds = self.facts["duration_seconds"]
        return -1 if seconds is None else max(0, round(seconds * 1000))

    @property
    def duration(self) -> str:
        """How long it ran, or has run so far; empty before it started."""
        seconds = self.facts["duration_seconds"]
        return "" if seconds is None else duration(seconds)


def money(amount: Decimal) -> str:
    """US dollars and cents; never "$0.00" for something that did cost."""
    return f"<${CENT}" if 0 < amount < CENT else f"${amount:,.2f}"


def duration(seconds: float) -> str:
    """The two largest units that matter: 8 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
    whole = int(max(seconds, 0))
    units = [("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60)]
    first = next((place for place, (_, count) in enumerate(units) if count), len(units) - 1)
    larger, *smaller = units[first : first + 2]
    return " ".join(f"{count} {unit}" for unit, count in (larger, *(part for part in smaller if part[1])))


def make_rows(jobs: Sequence[Job], reader: AnyUser, teams: Sequence[Team] | None = None) -> list[Row]:
    """The lines for `jobs`, in their order. The number of queries doesn't depend on how many they are.

    `teams` are the reader's, if they are known already.
    """
    roles: dict[int | None, str] = {team.id: team.role for team in (teams_of(reader) if teams is None else teams)}
    facets, reasons = facets_of(jobs, reader), _reasons_of_end(jobs)
    return [
        _make_row(job, facts, {"reason_of_end": reasons.get(job.pk, ""), **facets[job.pk]}, reader, roles)
        for job, facts in zip(jobs, represent(jobs, reader, facets), strict=True)
    ]


def _make_row(
    job: Job, facts: dict[str, Any], beside: Mapping[str, Any], reader: AnyUser, roles: Mapping[int | None, str]
) -> Row:
    role = roles.get(job.organization_id)
    kind = _kind(job, facts)
    may_change = role in MANAGERS or (job.submitted_by_id == reader.pk and role in SUBMITTERS) or is_superuser(reader)
    return Row(
        job=job,
        facts=facts,
        kind=kind,
        note=_note(job, kind, facts, beside),
        may_cancel=may_change and _is_stoppable(job),
        may_retry=may_change and job.status in (JobStatus.FAILED, JobStatus.CANCELLED),
        may_delete=may_change and job.is_terminal,
        review_address=beside.get("review_address") if kind == "held" else None,
        names_organization=is_superuser(reader) or len(roles) > 1,
    )


def _reasons_of_end(jobs: Sequence[Job]) -> dict[str, str]:
    """Who stopped each cancelled job, and why, from the history."""
    cancelled = [job.pk for job in jobs if job.status == JobStatus.CANCELLED]
    events = JobEvent.objects.filter(subject=Job.SUBJECT, new=JobStatus.CANCELLED, job__in=cancelled).order_by("id")
    return {
        job_id: f"By {actor}: {reason}" if reason else f"By {actor}."
        for job_id, actor, reason in events.values_list("job_id", "actor", "reason")
    }


def _is_stoppable(job: Job) -> bool:
    return not job.is_terminal and job.cancel_requested_at is None


def _kind(job: Job, facts: dict[str, Any]) -> str:
    if job.is_terminal:
        return job.status
    if job.cancel_requested_at is not None:
        return "cancelling"
    return "held" if facts["approval_status"] == "pending" else job.status


def _note(job: Job, kind: str, facts: dict[str, Any], beside: Mapping[str, Any]) -> str:
    match kind:
        case "held":
            return f"Waits for approval. {beside.get('held_because', '')}".strip()
        case "cancelling":
            return f"Asked by {job.cancel_requested_by}; it ends as soon as {job.provider} confirms."
        case JobStatus.PENDING:
            place = facts["queue_position"]
            return " ".join(filter(None, [place and f"Number {place} in the queue.", facts["waiting_reason"]]))
        case JobStatus.UPLOADING:
            return f"Its dataset is on the way to {job.provider}."
        case JobStatus.QUEUED:
            return f"{job.provider} has it and starts it soon."
        case JobStatus.COMPLETED:
            return f"{job.total_steps:,} steps" if job.total_steps else ""
        case JobStatus.FAILED:
            return job.error_message or "It failed, and nothing said why."
        case JobStatus.CANCELLED:
            return str(beside["reason_of_end"])
    return ""
