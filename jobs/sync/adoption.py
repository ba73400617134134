"""Trainings that were made elsewhere become jobs."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.fast_sql import insert
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor, Change
from jobs.costs import ledger
from jobs.failures.cause import line_of
from jobs.identifiers import new_job_id
from jobs.models import Job, Organization
from jobs.providers.base import DiscoveredTraining, Snapshot
from jobs.runs.numbers import number_at_commit
from jobs.snapshot_fields import began_at, ending_fields, log_due_fields, waiting_fields
from jobs.statuses import JobStatus


def adopt_discovered(
    trainings: Sequence[DiscoveredTraining],
    *,
    provider: str,
    organization: Organization | None,
    source: str,
    sealed: str = "",
) -> list[Job]:
    """Store trainings that were made elsewhere, as they are now. Raises IntegrityError when one is stored already.

    `sealed` holds the secrets of their configs, when they are known: they are masked in what the provider reports.
    """
    jobs = [_discovered(training, provider, organization, sealed) for training in trainings]
    with unit_of_work(release_at_commit=True):
        insert(jobs)
        for job in jobs:
            job._state.adding = False
        for job, training in zip(jobs, trainings, strict=True):
            _record_discovered(job, training.snapshot, source)
    return jobs


def _discovered(training: DiscoveredTraining, provider: str, organization: Organization | None, sealed: str) -> Job:
    snapshot, now = training.snapshot, timezone.now()
    status = snapshot.status or JobStatus.QUEUED
    job = Job(
        id=new_job_id(training.created_at),
        organization=organization,
        correlation_id=get_correlation_id(),
        provider=provider,
        external_id=snapshot.external_id,
        hardware_profile=snapshot.hardware or "",
        config_name=training.name,
        config=training.config,
        dataloader_config=training.dataloader_config,
        sealed=sealed,
        created_at=training.created_at,
        queued_at=training.created_at,
        last_synced_at=now,
        metadata={**snapshot.metadata, "discovered": True},
        error_message=snapshot.error_message or "",
        error_line=line_of(snapshot.error_message or ""),
        output_url=snapshot.output_url or "",
        started_at=began_at(snapshot, training.created_at),
        cost_usd=snapshot.cost_usd or Decimal(0),
        cost_doubt=snapshot.cost_doubt or None,
    )
    fields = {"status": status, **waiting_fields(job, status, snapshot), **log_due_fields(job, status)}
    fields.update(ending_fields(job, status, snapshot))
    for name, value in fields.items():
        setattr(job, name, value)
    return job


def _record_discovered(job: Job, snapshot: Snapshot, source: str) -> None:
    reason = f"found at {job.provider} as {job.external_id}"
    actor = Actor(name=job.provider)
    change = Change.of(job, "", job.status, actor=actor, source=source, reason=reason, at=job.last_synced_at)
    number_at_commit(job)
    job.record(change)
    ledger.count_snapshot(job, snapshot)
    transaction.on_commit(lambda: job.announce(change), robust=True)
