"""SimpleTuner's jobs, stored as ours: each once, however often they are imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.batches import in_batches
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Change
from cloudtrain_site.states import Source as ChangeSource
from jobs.configs.secrets import sealed_columns, without_secrets
from jobs.costs import ledger
from jobs.costs.estimates import dollars
from jobs.costs.prices import Price, price_of
from jobs.failures.cause import line_of
from jobs.models import Job, Organization, ProviderConfig, record_in_history
from jobs.models.ledger import CostSource
from jobs.organizations.authority import lock_organization
from jobs.providers.figures import Basis, is_duration
from jobs.runs.numbers import number_at_commit
from jobs.simpletuner.outcome import Fate, Outcome
from jobs.simpletuner.people import People
from jobs.simpletuner.rows import REPLICATE, BrokenRowError, ReadJob, SkippedRowError, read_job
from jobs.simpletuner.source import Row, Source
from jobs.snapshot_fields import end_fields, log_due_fields

KIND = "jobs"
ROWS_PER_TRANSACTION = 500
#: A discovery, or a second import, may store the same jobs at the same moment.
MAX_ATTEMPTS = 3
NO_COST = "SimpleTuner has no cost for it."

#: Takes SimpleTuner's ids of jobs; returns what their histories begin with, by id.
Histories: TypeAlias = Callable[[Sequence[str]], Mapping[str, Sequence[Change]]]


@dataclass(slots=True)
class JobImport:
    """The import of the table `jobs` into an organization."""

    source: Source
    organization: Organization
    people: People
    histories: Histories
    #: Jobs made before are left out; None: all are taken.
    since: datetime | None = None
    outcome: Outcome = field(default_factory=Outcome)
    #: Jobs of SimpleTuner's users who are no members here.
    without_member: int = 0
    #: Jobs that run at Replicate, and are followed from now on.
    adopted: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def run(self, *, apply: bool) -> Outcome:
        """Count what would be stored, or store it. Raises SourceError for a damaged source."""
        config = ProviderConfig.of(REPLICATE)
        for rows in in_batches(self.source.rows("jobs"), ROWS_PER_TRANSACTION):
            jobs = list(self._read(rows))
            new = self._store(jobs, config) if apply else self._unknown(jobs)
            for job in jobs:
                self.outcome.add(KIND, Fate.NEW if job.id in new else Fate.THERE)
            self.without_member += sum(job.id in new and self.people.member(job.user_id) is None for job in jobs)
            self.adopted += sum(job.id in new and job.is_active for job in jobs)
        return self.outcome

    def _read(self, rows: Iterable[Row]) -> Iterator[ReadJob]:
        """Yield the jobs to store, and count the other rows. Two rows of one prediction are one job."""
        for row in rows:
            try:
                job = read_job(row)
            except SkippedRowError as error:
                self.outcome.add(KIND, Fate.SKIPPED, str(error))
                continue
            except BrokenRowError as error:
                self.outcome.add_broken(KIND, f"job {str(row.get('job_id'))[:60]}", str(error))
                continue
            keys = {("id", job.id), ("external", job.external_id or job.id)}
            if self.since is not None and job.created_at < self.since:
                self.outcome.add(KIND, Fate.SKIPPED, f"made before {self.since:%Y-%m-%d}")
            elif keys & self._seen:
                self.outcome.add(KIND, Fate.SKIPPED, "a second row of one training")
            else:
                self._seen |= keys
                yield job

    def _unknown(self, jobs: Sequence[ReadJob]) -> set[str]:
        """Return the ids of those that are not stored yet."""
        external_ids = {job.external_id: job.id for job in jobs if job.external_id}
        stored = Job.objects.filter(
            Q(pk__in=[job.id for job in jobs]) | Q(provider=REPLICATE, external_id__in=external_ids)
        )
        known = set[str]()
        for pk, external_id in stored.values_list("pk", "external_id"):
            known |= {pk, external_ids.get(external_id or pk, pk)}
        return {job.id for job in jobs} - known

    def _store(self, jobs: Sequence[ReadJob], config: ProviderConfig) -> set[str]:
        """Store what is not stored yet, in one transaction, and return its ids."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                with unit_of_work():
                    organization = lock_organization(self.organization)
                    new = self._unknown(jobs)
                    self._insert([job for job in jobs if job.id in new], organization, config)
                return new
            except IntegrityError:
                if attempt == MAX_ATTEMPTS:
                    raise
        raise AssertionError

    def _insert(self, jobs: Sequence[ReadJob], organization: Organization, config: ProviderConfig) -> None:
        before, now = self.histories([job.source_id for job in jobs]), timezone.now()
        stored, bases = list[Job](), dict[str, Basis]()
        for read in jobs:
            job = self._job(read, organization)
            bases[job.pk] = _set_cost(job, read, config)
            stored.append(job)
        Job.objects.bulk_create(stored)
        for job, read in zip(stored, jobs, strict=True):
            number_at_commit(job)
            # These moves were made in SimpleTuner: no request here had them.
            for change in before.get(read.source_id, ()):
                record_in_history(job, change)
            # A new job begins with a status, so there is none that `change_state` could move it from. No receiver is
            # told after the commit either: the job has no place in the queue that could be freed.
            job.record(_change(job, read, now))
        ledger.count_imported([job for job in stored if job.is_terminal and job.cost_usd], bases, by=OPERATOR.name)

    def _job(self, read: ReadJob, organization: Organization) -> Job:
        member = self.people.member(read.user_id)
        metadata = read.metadata
        if member is None and read.user_id is not None:
            metadata = {**metadata, "imported_user": self.people.name(read.user_id)}
        job = Job(
            id=read.id,
            organization=organization,
            submitted_by=member or self.people.stand_in,
            correlation_id=get_correlation_id(),
            provider=read.provider,
            external_id=read.external_id,
            hardware_profile=read.hardware,
            config_name=read.config_name,
            tracker_run_name=read.tracker_run_name,
            **sealed_columns(config=read.config),
            status=read.status,
            output_url=read.output_url,
            created_at=read.created_at,
            queued_at=read.queued_at,
            started_at=read.started_at,
            metadata=metadata,
        )
        job.error_message = without_secrets(job, read.error)
        job.error_line = line_of(job.error_message)
        ending = log_due_fields(job, read.status) if read.completed_at is None else _end(read, read.completed_at)
        for name, value in ending.items():
            setattr(job, name, value)
        return job


def _end(read: ReadJob, completed_at: datetime) -> dict[str, object]:
    return end_fields(read.started_at, completed_at)


def _set_cost(job: Job, read: ReadJob, config: ProviderConfig) -> Basis:
    """Set what an ended job has cost and return what that is from.

    SimpleTuner counts an L40S's price whatever ran, so our price of what ran comes first.
    """
    told = read.cost
    price, seconds = _price(read, config), (job.duration_ms or 0) / 1000
    cost = dollars(price.per_second, seconds) if price and is_duration(seconds) else None
    if cost is None and told is None and job.provider == REPLICATE and job.duration_ms:
        job.cost_doubt = NO_COST
    if not job.is_terminal:
        return Basis()
    job.cost_usd = told or Decimal(0) if cost is None else cost
    if told is not None:
        job.metadata = {**job.metadata, "imported_cost_usd": float(told)}
    if cost is None or price is None:
        return Basis(source=CostSource.PERSON)
    return Basis(price.per_second, price.as_of, source=CostSource.PERSON)


def _price(read: ReadJob, config: ProviderConfig) -> Price | None:
    """Return the price of what ran; None: it did not begin, or nobody has set one."""
    if read.provider != REPLICATE or read.started_at is None or read.is_active or not read.hardware:
        return None
    return price_of(config, read.hardware, read.started_at)


def _change(job: Job, read: ReadJob, now: datetime) -> Change:
    reason = f"imported from SimpleTuner, where it was {read.source_id}"
    return Change.of(job, "", job.status, actor=OPERATOR, source=ChangeSource.COMMAND, reason=reason, at=now)
