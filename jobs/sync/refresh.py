"""Bring jobs up to date with their providers: load, ask, apply. No provider is called inside a transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.tracing.spans import span
from jobs import logs
from jobs.costs.prices import note_prices
from jobs.job_context import job_log_context
from jobs.models import Job, ProviderConfig
from jobs.providers import get_provider, names_deleting_logs
from jobs.providers.base import Handle, ProviderError
from jobs.statuses import ACTIVE, TERMINAL
from jobs.sync import circuit_breaker
from jobs.sync.answers import Part, answers_of
from jobs.sync.apply import SnapshotBatch

logger = logging.getLogger("simpletuner.cloud.jobs")
provider_logger = logging.getLogger("simpletuner.cloud.providers")

#: Logs of ended jobs come first, then those of running ones.
MAX_LOGS_PER_CYCLE = 60
MAX_CONCURRENT_CANCELS = 8
CANCEL_SECONDS = 25.0
#: A log that can't be fetched this long after the job's end never will be.
LOG_GIVE_UP_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RefreshResult:
    refreshed: int = 0
    failed: int = 0
    moved: int = 0

    def __add__(self, other: RefreshResult) -> RefreshResult:
        return RefreshResult(self.refreshed + other.refreshed, self.failed + other.failed, self.moved + other.moved)


def active_jobs(provider: str | None = None, *, without: Collection[str] = ()) -> Sequence[Job]:
    """Return every job that a provider, but for those `without`, may have news of; the longest unheard of first."""
    jobs = Job.objects.at_provider().exclude(external_id=None).defer("config", "dataloader_config")
    jobs = jobs.order_by(F("last_synced_at").asc(nulls_first=True), "id")
    return list(jobs.filter(provider=provider) if provider else jobs.exclude(provider__in=without))


def refresh(jobs: Sequence[Job], *, source: str, with_logs: bool = False) -> RefreshResult:
    """Ask the providers about `jobs` and apply the answers. A failure of one job affects that job alone.

    `with_logs`: fetch their logs too, however many requests that takes.
    """
    jobs_by_provider = _by_provider([job for job in jobs if job.external_id])
    batches = _batches(jobs_by_provider, source)
    failed = {name for name, batch in batches.items() if circuit_breaker.is_open(batch.config, timezone.now())}
    lend_connection()
    handles = {
        name: [handle_of(job) for job in jobs_by_provider[name]] for name in jobs_by_provider if name not in failed
    }
    for name, part in answers_of(handles, with_logs=with_logs):
        _apply_part(batches[name], name, part)
        if isinstance(part, ProviderError):
            failed.add(name)
        lend_connection()
    return sum((_result(batch, name in failed) for name, batch in batches.items()), RefreshResult())


def _by_provider(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.provider, []).append(job)
    return groups


def _batches(jobs_by_provider: Mapping[str, Sequence[Job]], source: str) -> dict[str, SnapshotBatch]:
    configs = ProviderConfig.of_all(jobs_by_provider)
    note_prices(configs.values())
    return {
        name: SnapshotBatch({job.pk: job for job in jobs_by_provider[name]}, configs[name], source)
        for name in jobs_by_provider
    }


def _apply_part(batch: SnapshotBatch, name: str, part: Part) -> None:
    """Apply a part of a provider's answers as it arrives; at their end, count whether the provider could be asked."""
    if isinstance(part, ProviderError):
        circuit_breaker.record_failure(name, part)
    elif part is not None:
        batch.apply(part)
    elif batch.refreshed:
        circuit_breaker.record_success(batch.config)


def _result(batch: SnapshotBatch, has_failed: bool) -> RefreshResult:
    failed = len(batch.jobs) - batch.refreshed if has_failed else batch.failed
    return RefreshResult(batch.refreshed, failed, batch.moved)


def handle_of(job: Job) -> Handle:
    return Handle(
        job.pk,
        job.external_id or "",
        since=job.submission_started_at or job.created_at,
        metadata={} if job.is_terminal else job.metadata,
        cancel_requested_at=job.cancel_requested_at,
        log_size=job.log_size,
        has_ended=job.is_terminal,
    )


def refresh_viewed(job: Job, *, source: str) -> bool:
    """Ask about a job that somebody is viewing. Many simultaneous viewers cause one request.

    True: this call asked, and `job` has the answer.
    """
    if not logs.claim_view(job):
        return False
    job.refresh_from_db()
    refresh([job], source=source, with_logs=True)
    job.refresh_from_db()
    return True


def capture_logs(*, source: str, budget: int = MAX_LOGS_PER_CYCLE) -> int:
    """Fetch the logs that are due, at most `budget`: of ended jobs, before they are deleted, then of running ones."""
    now = timezone.now()
    due = Job.objects.filter(log_due_at__lte=now, provider__in=names_deleting_logs()).defer(
        "config", "dataloader_config"
    )
    ended = list(due.filter(status__in=TERMINAL).order_by("log_due_at")[:budget])
    running = list(due.filter(status__in=ACTIVE).order_by("log_due_at")[: budget - len(ended)])
    claimed = [job for job in (*ended, *running) if _claim_log(job)]
    batches = _batches(_by_provider(claimed), source)
    open_now = {name for name, batch in batches.items() if circuit_breaker.is_open(batch.config, now)}
    jobs_by_provider = {name: batch.jobs.values() for name, batch in batches.items() if name not in open_now}
    handles = {name: [handle_of(job) for job in jobs] for name, jobs in jobs_by_provider.items()}
    for name, part in answers_of(handles, with_logs=True):
        _apply_part(batches[name], name, part)
        if isinstance(part, Mapping):
            for job_id, answer in part.items():
                if isinstance(answer, ProviderError):
                    stop_hopeless_capture(batches[name].jobs[job_id], answer)
    return len(claimed)


def _claim_log(job: Job) -> bool:
    """Claim one log: of two simultaneous captures one fetches it."""
    now = timezone.now()
    # An ended job's log stays due, only later: a failed fetch is repeated.
    unclaimed = Job.objects.filter(pk=job.pk, log_due_at=job.log_due_at)
    job.log_due_at = now + (timedelta(seconds=60) if job.is_terminal else logs.QUIET_INTERVAL)
    return bool(unclaimed.update(log_due_at=job.log_due_at, log_fetched_at=now))


def stop_hopeless_capture(job: Job, error: ProviderError) -> None:
    ended_at = job.completed_at
    if ended_at is not None and error.permanent and timezone.now() - ended_at > LOG_GIVE_UP_AFTER:
        logs.stop_capture(job)


def cancel_at_providers(jobs: Sequence[Job]) -> Sequence[Job]:
    """Ask the providers of `jobs` to stop those with a requested cancel. Returns those whose provider accepted.

    The maintenance loop asks again for the others, until their provider says that they stopped.
    """
    to_cancel = [job for job in jobs if not job.is_terminal and job.cancel_requested_at is not None and job.external_id]
    requested: list[Job] = []
    asyncio.run(_request_cancels(to_cancel, requested))
    return requested


async def _request_cancels(jobs: Sequence[Job], requested: list[Job]) -> None:
    """Ask side by side, within the time that a task has: a request that hangs keeps no other from being sent."""
    semaphore = asyncio.Semaphore(MAX_CONCURRENT_CANCELS)

    async def ask(job: Job) -> None:
        async with semaphore:
            with job_log_context(job):
                try:
                    with span("cancel at provider", {"provider": job.provider, "job_id": job.pk}):
                        await get_provider(job.provider).cancel(handle_of(job))
                except ProviderError as error:
                    provider_logger.warning("Cancel could not be asked for", extra={"error": str(error)})
                    return
                logger.info("Asked the provider to cancel")
                requested.append(job)

    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await asyncio.gather(*map(ask, jobs))
    except TimeoutError:
        provider_logger.warning("Cancels were not answered in time", extra={"jobs": len(jobs) - len(requested)})


#: A process that is killed while it refreshes keeps the others waiting for at most this long.
LEASE = timedelta(seconds=20)
POLL_SECONDS = 0.1


def refresh_shared(jobs: Sequence[Job], *, source: str) -> RefreshResult:
    """Refresh all active jobs of the providers of `jobs`, or wait for a refresh that is running. The result counts
    `jobs` alone.
    """
    names = sorted({job.provider for job in jobs})
    for name in names:
        if _claim_refresh(name):
            try:
                refresh(active_jobs(name), source=source)
            finally:
                ProviderConfig.objects.filter(pk=name).update(refresh_until=None)
        else:
            _wait_for_refresh(name)
    failed = _failed_among(jobs, names)
    return RefreshResult(len(jobs) - failed, failed)


def _claim_refresh(name: str) -> bool:
    ProviderConfig.objects.get_or_create(name=name)
    now = timezone.now()
    unclaimed = Q(refresh_until=None) | Q(refresh_until__lte=now)
    return bool(ProviderConfig.objects.filter(unclaimed, pk=name).update(refresh_until=now + LEASE))


def _wait_for_refresh(name: str) -> None:
    until = time.monotonic() + LEASE.total_seconds()
    running = ProviderConfig.objects.filter(pk=name, refresh_until__isnull=False)
    while time.monotonic() < until and running.exists():
        lend_connection()
        time.sleep(POLL_SECONDS)


def _failed_among(jobs: Sequence[Job], names: Sequence[str]) -> int:
    now = timezone.now()
    open_circuits = {row.pk for row in ProviderConfig.objects.filter(pk__in=names) if circuit_breaker.is_open(row, now)}
    refreshed = [job.pk for job in jobs if job.provider not in open_circuits]
    failed = Job.objects.filter(pk__in=refreshed).exclude(sync_error="").count()
    return len(jobs) - len(refreshed) + failed
