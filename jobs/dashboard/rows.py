"""A job as a row of the list: its texts, its figures, and the actions that the reader may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.contrib.humanize.templatetags.humanize import ordinal
from django.urls import reverse

from cloudtrain_site.api import as_utc
from cloudtrain_site.database.beginnings import beginning, beginning_of
from cloudtrain_site.wording.values import duration, money
from jobs.api.serializers import seconds_of
from jobs.costs.texts import expected_cost, is_on_own_hardware, unknown_cost
from jobs.extensions import facets_of
from jobs.failures.cause import NO_CAUSE
from jobs.models import Job, JobEvent
from jobs.permissions import AnyUser, Team, is_superuser, teams_of
from jobs.providers import label_of, place_of
from jobs.queries import LABELS, kind_of, reasons_to_stop
from jobs.roles import MANAGERS, SUBMITTERS
from jobs.statuses import JobStatus

#: The kinds whose note is a reason.
WITH_REASON = (JobStatus.PENDING, JobStatus.UPLOADING, JobStatus.QUEUED, JobStatus.FAILED, "held", "cancelling")
#: The facet fields that a row shows; the facets need not compute others.
FACTS = ("approval_status", "held_because", "queue_position", "review_address", "waiting_reason")
NOTHING: dict[str, Any] = dict.fromkeys(FACTS) | {"held_because": "", "tags": ()}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the list with all values computed: a page has fifty, so their template only names fields."""

    id: str
    #: In its organization; None: it has none.
    number: int | None
    name: str
    status: str
    #: The status, or "held" or "cancelling": what the chip shows.
    kind: str
    #: The sentence that explains the status; empty when the progress bar does.
    note: str
    #: The page of this job alone.
    address: str
    #: Its submitter; empty for a job made at the provider.
    submitter: str
    #: Its organization's name, for who sees those of several; else empty.
    organization: str
    provider: str
    hardware: str
    stage: str | None
    progress: float | None
    #: In US dollars, to sort by; of an unknown cost the known part.
    cost_usd: str
    is_cost_known: bool
    #: Its cost, that it is not known, or its expected cost; empty when nothing is.
    cost: str
    created_at: str
    #: The same as people read it.
    created: str
    #: When it began, while it has not ended.
    running_since: str | None
    #: For how many milliseconds; -1 before it started.
    ran: int
    #: The same in words; empty before it started.
    duration: str
    #: As `permissions.can_change` says.
    may_change: bool
    may_cancel: bool
    may_retry: bool
    may_delete: bool
    #: Where it is decided, for those who may.
    review_address: str | None
    tags: Sequence[str] = ()
    #: The texts of the columns that the list's reader picked.
    cells: Sequence[str] = ()

    @property
    def label(self) -> str:
        return LABELS[self.kind]

    @property
    def waits(self) -> bool:
        """Whether its texts depend on the other jobs in the queue."""
        return self.status == JobStatus.PENDING

    @property
    def percent(self) -> int | None:
        """Return its progress in whole percent, rounded down: 100 means completed."""
        return None if self.progress is None else int(self.progress)

    @property
    def why(self) -> str:
        """Why it waits or failed: the list shows it in a line of its own."""
        return self.note if self.kind in WITH_REASON else ""

    @property
    def aside(self) -> str:
        """What else is to be said of its status: the list shows it when it is asked for."""
        return (self.stage or "Starting") if self.kind == JobStatus.RUNNING else "" if self.why else self.note

    @property
    def has_acts(self) -> bool:
        """Whether the reader may do something with it."""
        return bool(self.may_cancel or self.may_delete or self.review_address)

    @property
    def where(self) -> str:
        return place_of(self.provider, self.hardware)

    @property
    def brief(self) -> list[str]:
        """Return organization, hardware and cost, those that it has."""
        return [text for text in (self.organization, self.where, self.cost) if text]


def make_rows(
    jobs: Sequence[Job], reader: AnyUser, teams: Sequence[Team] | None = None, *, with_tags: bool = False
) -> list[Row]:
    """Return the rows for `jobs`, in their order. The number of queries doesn't depend on the number of jobs.

    `teams` are the reader's, if they are known already.
    """
    facets, reasons = facets_of(jobs, reader, (*FACTS, "tags") if with_tags else FACTS), _reasons_of_end(jobs)
    maker = _Maker(reader, teams_of(reader) if teams is None else teams)
    return [maker.make(job, NOTHING | facets[job.pk] | {"reason_of_end": reasons.get(job.pk, "")}) for job in jobs]


class _Maker:
    """Makes the rows for one reader, whose rights are read once."""

    def __init__(self, reader: AnyUser, teams: Sequence[Team]) -> None:
        self.reader_id = reader.pk
        self.is_superuser = is_superuser(reader)
        self.roles: dict[int | None, str] = {team.id: team.role for team in teams}
        self.names_organization = self.is_superuser or len(self.roles) > 1
        self.pages = reverse("job-page", args=["-"]).removesuffix("-")
        self.labels: dict[str, str] = {}

    def make(self, job: Job, facts: Mapping[str, Any]) -> Row:
        kind, ran = kind_of(job, facts), seconds_of(job)
        may_change, has_ended, at = self._may_change(job), job.is_terminal, job.created_at.astimezone(UTC)
        return Row(
            id=job.pk,
            number=job.number,
            name=job.config_name,
            status=job.status,
            kind=kind,
            note=_note(job, kind, facts),
            address=f"{self.pages}{job.pk}",
            submitter=job.submitted_by.get_username() if job.submitted_by else "",
            organization=job.organization.name if self.names_organization and job.organization else "",
            provider=self._label_of(job.provider),
            hardware=job.hardware_profile,
            stage=job.stage,
            progress=job.progress,
            cost_usd=f"{job.cost_usd:f}",
            is_cost_known=job.cost_doubt is None,
            cost=_cost(job),
            created_at=str(as_utc(job.created_at)),
            created=f"{at.day} {at:%b %Y, %H:%M} UTC",
            running_since=None if has_ended else as_utc(job.started_at),
            ran=-1 if ran is None else max(0, round(ran * 1000)),
            duration="" if ran is None else duration(ran),
            may_change=may_change,
            may_cancel=may_change and _is_stoppable(job),
            may_retry=may_change and job.status in (JobStatus.FAILED, JobStatus.CANCELLED),
            may_delete=may_change and has_ended,
            review_address=facts["review_address"] if kind == "held" else None,
            tags=facts["tags"],
        )

    def _label_of(self, provider: str) -> str:
        if provider not in self.labels:
            self.labels[provider] = label_of(provider)
        return self.labels[provider]

    def _may_change(self, job: Job) -> bool:
        role = self.roles.get(job.organization_id)
        is_own = job.submitted_by_id == self.reader_id and role in SUBMITTERS
        return self.is_superuser or role in MANAGERS or is_own


def _reasons_of_end(jobs: Sequence[Job]) -> dict[str, str]:
    """Return by job id who cancelled it, and why, from the history."""
    requested_by = {job.pk: job.cancel_requested_by for job in jobs if job.status == JobStatus.CANCELLED}
    events = JobEvent.objects.filter(subject=Job.SUBJECT, new=JobStatus.CANCELLED, job__in=requested_by).order_by("id")
    asked = reasons_to_stop([job_id for job_id, name in requested_by.items() if name])
    # A provider's cancellation without a reason only confirms the request of a person. The history shows all of one.
    return {
        job_id: _by(actor, beginning(reason)) if reason else _by(requested_by[job_id] or actor, asked.get(job_id, ""))
        for job_id, actor, reason in events.values_list("job_id", "actor", beginning_of("reason"))
    }


def _by(actor: str, reason: str) -> str:
    verb, _, rest = reason.partition(": ")
    if verb in ("withdrawn", "rejected"):
        return f"{verb.capitalize()} by {actor}{rest and f': {rest}'}"
    return f"By {actor}: {reason}" if reason else f"By {actor}."


def _cost(job: Job) -> str:
    if job.cost_doubt is not None:
        return unknown_cost(job)
    if job.cost_usd > 0:
        return money(job.cost_usd)
    if job.is_terminal or is_on_own_hardware(job):
        return money(Decimal(0))
    expected = expected_cost(job)
    return f"~{expected}" if expected else ""


def _is_stoppable(job: Job) -> bool:
    return not job.is_terminal and job.cancel_requested_at is None


def _steps_made(job: Job) -> str:
    """A trainer may end before its last step, with success: told to stop early, or by a limit of time."""
    if not job.total_steps:
        return ""
    is_short = job.step is not None and job.step < job.total_steps
    return f"{job.step:,} of {job.total_steps:,} steps" if is_short else f"{job.total_steps:,} steps"


def _note(job: Job, kind: str, facts: Mapping[str, Any]) -> str:
    match kind:
        case "held":
            return f"Needs approval: {facts['held_because']}".strip(": ")
        case "cancelling":
            waits = job.provider_waiting_reason if job.status == JobStatus.QUEUED else ""
            note = f"Cancelled by {job.cancel_requested_by}. Waiting for {job.provider} to confirm."
            return f"{note} {waits}" if waits else note
        case JobStatus.PENDING:
            position = facts["queue_position"]
            return " ".join(filter(None, [position and f"{ordinal(position)} in line.", facts["waiting_reason"]]))
        case JobStatus.UPLOADING:
            return f"Uploading the dataset to {job.provider}."
        case JobStatus.QUEUED:
            return facts["waiting_reason"] or f"{job.provider} accepted the job and starts it soon."
        case JobStatus.COMPLETED:
            return _steps_made(job)
        case JobStatus.FAILED:
            return job.cause or NO_CAUSE
        case JobStatus.CANCELLED:
            return str(facts["reason_of_end"])
    return ""
