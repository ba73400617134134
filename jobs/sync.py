"""Bring jobs up to what their providers say: load, ask, apply. No question is asked inside a transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby

from django.utils import timezone

from jobs import lifecycle
from jobs.estimates import rate_of
from jobs.models import Job, ProviderConfig
from jobs.providers import get_provider
from jobs.providers.base import Handle, ProviderError, Snapshot
from jobs.statuses import AT_PROVIDER
from jobs.tracing import tracing

logger = logging.getLogger("simpletuner.cloud.jobs")

Answers = Mapping[str, Snapshot | ProviderError]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of a refresh: how many jobs were brought up to date, and how many could not be."""

    refreshed: int = 0
    failed: int = 0

    def __add__(self, other: Refreshed) -> Refreshed:
        return Refreshed(self.refreshed + other.refreshed, self.failed + other.failed)


def active_jobs(provider: str | None = None) -> Sequence[Job]:
    """Every job that a provider may have news of, whoever's and however old."""
    jobs = Job.objects.filter(status__in=AT_PROVIDER).exclude(external_id=None).order_by("provider", "id")
    return list(jobs.filter(provider=provider) if provider else jobs)


def refresh(jobs: Sequence[Job], *, source: str) -> Refreshed:
    """Ask the providers about `jobs` and apply what they say. One job's failure is that job's alone."""
    total = Refreshed()
    for name, group in groupby(sorted(jobs, key=lambda job: job.provider), key=lambda job: job.provider):
        members = [job for job in group if job.external_id]
        total += _apply(name, members, _ask(name, members), source)
    return total


def _ask(name: str, jobs: Sequence[Job]) -> Answers:
    """The provider's answers by job id; its own outage is every job's answer."""
    handles = [Handle(job.pk, job.external_id or "") for job in jobs]
    try:
        return asyncio.run(get_provider(name).fetch(handles))
    except KeyError:
        return {job.pk: ProviderError(f"There is no provider {name!r} any more.", permanent=True) for job in jobs}
    except ProviderError as error:
        logger.warning("Provider could not be asked", extra={"provider": name, "error": str(error)})
        return {job.pk: error for job in jobs}


def _apply(name: str, jobs: Sequence[Job], answers: Answers, source: str) -> Refreshed:
    config = ProviderConfig.objects.filter(name=name).first()
    outcomes = [_apply_one(job, answers.get(job.pk), config, source) for job in jobs]
    return Refreshed(refreshed=outcomes.count(True), failed=outcomes.count(False))


def _apply_one(
    job: Job, answer: Snapshot | ProviderError | None, config: ProviderConfig | None, source: str
) -> bool | None:
    """True: up to date. False: could not be. None: the provider said nothing of it."""
    if answer is None:
        return None
    with tracing(job):
        return _apply_answer(job, answer, config, source)


def _apply_answer(job: Job, answer: Snapshot | ProviderError, config: ProviderConfig | None, source: str) -> bool:
    if isinstance(answer, ProviderError):
        logger.debug("Failed to sync job %s", job.pk, extra={"error": str(answer)})
        Job.objects.filter(pk=job.pk).exclude(sync_error=str(answer)).update(sync_error=str(answer))
        return False
    lifecycle.apply_snapshot(job, _with_cost(job, answer, config), source=source)
    if job.sync_error:
        Job.objects.filter(pk=job.pk).update(sync_error="")
    return True


def _with_cost(job: Job, snapshot: Snapshot, config: ProviderConfig | None) -> Snapshot:
    """The snapshot with its cost: the provider's own figure, or the running time at the operator's price."""
    rate = rate_of(config, job.hardware_profile) if config else None
    started = snapshot.started_at or job.started_at
    if snapshot.cost_usd is not None or rate is None or started is None:
        return snapshot
    seconds = max(0.0, ((snapshot.completed_at or timezone.now()) - started).total_seconds())
    return replace(snapshot, cost_usd=(rate * Decimal(str(seconds))).quantize(Decimal("0.0001")))


def cancel_at_provider(job: Job) -> bool:
    """Ask the job's provider to stop it, when somebody wants that. False: nothing to ask, or not reachable now.

    The poll asks again until the provider says that it stopped.
    """
    if job.is_terminal or job.cancel_requested_at is None or not job.external_id:
        return False
    with tracing(job):
        try:
            asyncio.run(get_provider(job.provider).cancel(Handle(job.pk, job.external_id)))
        except ProviderError as error:
            logger.warning("Cancel could not be asked for", extra={"error": str(error)})
            return False
        logger.info("Asked the provider to cancel")
    return True
