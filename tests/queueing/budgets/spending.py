"""Budgets and jobs that have cost something, for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, JobAccount, Organization, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from jobs.sync.apply import SnapshotBatch
from queueing import claims
from queueing.models import Budget, QueueEntry


def budget_of(organization: Organization | None, amount: str, **fields: Any) -> Budget:
    scope = "user" if fields.get("user") else "organization" if organization else "site"
    return Budget.objects.create(organization=organization, scope=scope, amount=Decimal(amount), **fields)


def spend(make_job: Callable[..., Job], amount: str, **fields: Any) -> Job:
    """Return a job that runs since a minute ago and has cost so much."""
    began = timezone.now() - timedelta(minutes=1)
    job = make_job(status="running", external_id=f"y-{amount}", started_at=began, provider="scripted", **fields)
    lifecycle.apply_snapshot(
        job, Snapshot(job.external_id or "", JobStatus.RUNNING, cost_usd=Decimal(amount)), source=Source.POLL
    )
    return job


def poll(job: Job, config: ProviderConfig, amount: str) -> None:
    """Have the provider say what the running job has cost by now."""
    job.refresh_from_db()
    # What it costs is counted once a minute.
    JobAccount.objects.filter(job=job).update(counted_until=timezone.now() - timedelta(minutes=2))
    batch = SnapshotBatch({job.pk: job}, config, Source.POLL)
    batch.apply({job.pk: Snapshot(job.external_id or "", JobStatus.RUNNING, cost_usd=Decimal(amount))})
    assert not batch.failed


def take_slot(job: Job) -> QueueEntry:
    """Give the running job the place in the queue that it has."""
    claims.enqueue(job, role=None, held=False, actor=SYSTEM, source=Source.API)
    QueueEntry.objects.filter(job=job).update(status="running", claim_token=f"of-{job.pk}"[:32])
    return QueueEntry.objects.get(job=job)
