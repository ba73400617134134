"""Hand claimed jobs to their providers, and settle what a crash left behind.

Claim - submit - record. The provider is called outside of every transaction; its answer is recorded only by the holder
of the claim.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from cloudtrain_site.database.connections import repeat_when_lost
from cloudtrain_site.database.failures import failure_of
from cloudtrain_site.database.late_writes import write_now_or_later
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.states import Actor, Source
from cloudtrain_site.tracing.spans import span
from jobs import lifecycle
from jobs.configs.secrets import unsealed_columns, without_secrets
from jobs.costs.estimates import longest_seconds
from jobs.job_context import job_log_context
from jobs.models import Job
from jobs.providers import UnknownProviderError, get_provider, label_of, limits_time
from jobs.providers.base import ProviderError, TrainingSpec
from jobs.runs.resuming import source_of
from jobs.statuses import TERMINAL, JobStatus
from queueing import claims, extensions, staging
from queueing.limits import is_switched_off
from queueing.models import QueueEntry
from queueing.recorder import Accepted, ResultRecorder, record_now_or_later
from queueing.statuses import LIVE, TAKES_SLOT, WAITING, EntryStatus

T = TypeVar("T")

logger = logging.getLogger("simpletuner.cloud.queue")
provider_logger = logging.getLogger("simpletuner.cloud.providers")

#: After this time the training is searched for instead. It is well below a claim's lease, and with the time of a pass
#: below the 60 seconds after which a worker is killed.
CALL_SECONDS = 30.0
#: A pass claims nothing more after this.
PASS_SECONDS = 20.0
MAX_CONCURRENT_CALLS = claims.MAX_CLAIMS_PER_TX
MAX_SEARCHES_PER_PASS = 200
# Of every pass, also where there is nothing to do.
_CANCELLED = Prepared(
    lambda: QueueEntry.objects.filter(
        status__in=WAITING, job__cancel_requested_at__isnull=False, job__external_id=None
    ).select_related("job")
)


def dispatch(entry: QueueEntry) -> bool:
    """Submit the job of a claimed entry. True: its provider has it."""
    return async_to_sync(submit)(entry)


@dataclass(frozen=True, slots=True)
class Staged:
    dataset_id: str
    address: str


async def submit(entry: QueueEntry, staged: Staged | None = None) -> bool:
    """As `dispatch`. A job with a dataset is left to `transfers`, which calls `submit_safely` once it is `staged`."""
    job = await _prepared(entry, staged)
    return job is not None and await _call(entry, job, staged, ResultRecorder())


async def submit_safely(entry: QueueEntry, staged: Staged | None = None) -> bool:
    """As `submit`, without its errors: the training may have begun, and the entry's lease finds out."""
    try:
        return await submit(entry, staged)
    except Exception:
        logger.exception("Dispatch failed")
        return False


async def _stored(step: Callable[..., T], *rows: Any) -> T:
    """Return `step`, called with copies of `rows`: when the connection is lost, it is repeated with what was read."""
    return await sync_to_async(repeat_when_lost)(_repeatable(step, *rows))


async def _stored_now_or_later(step: Callable[..., object], *rows: Any) -> None:
    """As `_stored`; on a full disk `step` is repeated until there is room."""
    await sync_to_async(write_now_or_later)(partial(repeat_when_lost, _repeatable(step, *rows)), None)


def _repeatable(step: Callable[..., T], *rows: Any) -> Callable[[], T]:
    return lambda: step(*map(copy.copy, rows))


async def _call(entry: QueueEntry, job: Job, staged: Staged | None, recorder: ResultRecorder) -> bool:
    provider_logger.info("Submitting to provider", extra={"attempt": entry.attempts})
    longest = await _stored(longest_seconds, job) if limits_time(job.provider) else None
    try:
        checkpoint = await _stored(source_of, job) if job.checkpoint else None
        with span("submit to provider", {"provider": job.provider, "job_id": job.pk, "attempt": entry.attempts}):
            async with asyncio.timeout(CALL_SECONDS):
                snapshot = await get_provider(job.provider).submit(training_spec(job, staged, longest, checkpoint))
    except TimeoutError:
        error = ProviderError(f"the provider did not answer within {CALL_SECONDS:.0f} s")
    except ProviderError as refusal:
        error = refusal
    else:
        return await recorder.record(Accepted(entry, job, snapshot))
    await _stored_now_or_later(partial(handle_refusal, error=error), entry, job)
    return False


async def _prepared(entry: QueueEntry, staged: Staged | None = None) -> Job | None:
    """As `_prepare`. When nothing can be written, the entry waits again as soon as that can be."""
    try:
        return await _stored(partial(_prepare, staged=staged), entry)
    except Exception as error:
        if failure_of(error) is None:
            raise
        reason = f"the database could not be written to: {error}"
        await _stored_now_or_later(partial(claims.requeue, error=reason), entry)
        return None


def _prepare(entry: QueueEntry, staged: Staged | None = None) -> Job | None:
    """Return the job as it is to be submitted, its marker stored. None: it may not go, and its entry is settled."""
    job = Job.objects.select_related("organization").get(pk=entry.job_id)
    # Checked on the very copy that is submitted: later changes of the row do not reach the provider.
    if not extensions.guards_allow(entry, job):
        return None
    if job.dataset_id is not None and (staged is None or staged.dataset_id != job.dataset_id):
        if not staging.begin(entry, job):
            _withdraw(entry, job)
        return None
    if is_switched_off(job.provider):  # since the claim: a dataset's transfer takes long
        claims.requeue(entry, f"{label_of(job.provider)} was switched off")
        return None
    if not lifecycle.begin_submission(job):
        _withdraw(entry, job)
        return None
    return job


def training_spec(
    job: Job,
    staged: Staged | None = None,
    longest: float | None = None,
    checkpoint: tuple[Path, str] | None = None,
) -> TrainingSpec:
    """Return the job for its provider, with its secrets. Raises ProviderError when they can't be opened.

    `longest`: how many seconds it takes at most by its estimate. `checkpoint`: what `source_of` returns of the job.
    """
    try:
        columns = unsealed_columns(job)
    except SecretsLostError as error:
        raise ProviderError(str(error), permanent=True, nothing_created=True) from None
    return TrainingSpec(
        **columns,
        job_id=job.pk,
        hardware_profile=job.hardware_profile,
        marker=job.submission_marker or "",
        correlation_id=job.correlation_id,
        tracker_run_name=job.tracker_run_name,
        dataset=staged.address if staged else "",
        estimated_seconds=longest,
        checkpoint=checkpoint,
    )


def handle_refusal(entry: QueueEntry, job: Job, error: ProviderError) -> None:
    # The error may repeat the submitted secrets.
    message = without_secrets(job, str(error))
    logger.warning("The provider did not accept the job", extra={"error": message, "attempt": entry.attempts})
    if not error.nothing_created:
        claims.postpone_search(entry, message)
        return
    job.refresh_from_db(fields=["cancel_requested_at"])
    if job.cancel_requested_at is not None:
        _end_unsubmitted(entry, job, JobStatus.CANCELLED, "cancelled before the provider accepted it")
    elif error.permanent or (error.retry_after is None and entry.attempts >= claims.MAX_ATTEMPTS):
        _end_unsubmitted(entry, job, JobStatus.FAILED, message)
    else:
        pause = None if error.retry_after is None else timedelta(seconds=error.retry_after)
        claims.requeue(entry, message, pause=pause)


def end_unsubmitted(entry: QueueEntry, job: Job, to: JobStatus, reason: str, *, actor: Actor, source: str) -> bool:
    """End job and entry together. False: the claim was taken over, or the provider has the job after all."""
    with unit_of_work():
        own_claim = QueueEntry.objects.filter(
            pk=entry.pk, status=EntryStatus.DISPATCHING, claim_token=entry.claim_token
        ).select_for_update()
        if not own_claim.exists():
            return False
        ended = lifecycle.finish(job, to, actor=actor, source=source, reason=reason)
        return ended and claims.end(job, actor=actor, source=source)


def _end_unsubmitted(entry: QueueEntry, job: Job, to: JobStatus, reason: str) -> None:
    end_unsubmitted(entry, job, to, reason, actor=claims.DISPATCHER, source=Source.DISPATCHER)


def _withdraw(entry: QueueEntry, job: Job) -> None:
    """Settle the entry of a job that may no longer be submitted: it began or ended, or was cancelled meanwhile."""
    job.refresh_from_db()
    if job.external_id is not None and not job.is_terminal:
        claims.confirm(entry)  # a webhook said that it runs, and costs money: it must not pass for stopped
    elif not job.is_terminal:
        _end_unsubmitted(entry, job, JobStatus.CANCELLED, "cancelled before the provider accepted it")
    if job.is_terminal:
        claims.end(job, actor=claims.DISPATCHER, source=Source.DISPATCHER)


def settle_abandoned() -> int:
    """Settle the claims whose lease ran out: search for the training first, and never submit it blindly again."""
    entries = [entry for entry in _abandoned(MAX_SEARCHES_PER_PASS)(timezone.now()) if _reclaim_abandoned(entry)]
    entries.sort(key=lambda entry: entry.provider)
    return sum(_search_trainings(list(group)) for _, group in groupby(entries, key=lambda entry: entry.provider))


@cache
def _abandoned(at_most: int) -> Prepared[QueueEntry]:
    # Claims with a dataset in transfer are left to the machine that has the dataset, which begins again.
    return Prepared(
        lambda now: (
            QueueEntry.objects.filter(status=EntryStatus.DISPATCHING, lease_until__lt=now, staging_since=None)
            .select_related("job")
            .order_by("lease_until")[:at_most]
        )
    )


def _reclaim_abandoned(entry: QueueEntry) -> bool:
    """Take over an abandoned claim. True: its training has to be searched for."""
    with job_log_context(entry.job):
        try:
            provider = get_provider(entry.job.provider)
        except UnknownProviderError:
            return _reclaim_without_provider(entry)
        if provider.bound_to_machine and entry.claimed_on != socket.gethostname():
            _fail_elsewhere(entry, entry.job)
            return False
        if not claims.reclaim(entry):
            return False
        logger.warning("Taking over an abandoned dispatch", extra={"attempt": entry.attempts})
        if entry.job.submission_marker is None:
            # The claim's holder died before it began: nothing can have been created.
            claims.requeue(entry, "the dispatcher stopped before it called the provider")
            return False
        return True


def _reclaim_without_provider(entry: QueueEntry) -> bool:
    """Leave the entry to a person: its provider no longer exists, so it can't be searched."""
    if claims.reclaim(entry):
        claims.postpone_search(entry, f"there is no provider “{entry.provider}” any more")
    return False


def _search_trainings(entries: Sequence[QueueEntry]) -> int:
    """Ask a provider, in one call, which of the trainings it has. Returns how many it has now."""
    provider = get_provider(entries[0].provider)
    markers = [entry.job.submission_marker or "" for entry in entries]
    message, snapshots, has_answered = "the provider does not show it", {}, False
    try:
        snapshots = dict(asyncio.run(asyncio.wait_for(provider.find_by_marker(markers), CALL_SECONDS)))
        has_answered = True
    except (ProviderError, TimeoutError) as error:
        logger.warning("Could not look for trainings", extra={"provider": provider.name, "error": str(error)})
        message = f"could not be looked for: {error}"
    settled = 0
    for entry, marker in zip(entries, markers, strict=True):
        with job_log_context(entry.job):
            if marker in snapshots:
                settled += record_now_or_later(Accepted(entry, entry.job, snapshots[marker]))
            elif provider.once_per_marker and has_answered:
                settled += dispatch(entry)
            else:
                claims.postpone_search(entry, message)
    return settled


def _fail_elsewhere(entry: QueueEntry, job: Job) -> None:
    """Fail a job that only the machine with the claim could settle, when that machine stays away."""
    started = job.submission_started_at or entry.dispatched_at or entry.enqueued_at
    if timezone.now() - started >= claims.UNCONFIRMED_AFTER and claims.reclaim(entry):
        reason = f"{entry.claimed_on} stopped while it was starting the training"
        _end_unsubmitted(entry, job, JobStatus.FAILED, reason)


def close_ended(statuses: Sequence[str] = LIVE) -> int:
    """End the entries of jobs that have ended, which a lost signal would have done."""
    return sum(claims.end(job) for job in _ended(tuple(statuses))())


@cache
def _ended(statuses: tuple[str, ...]) -> Prepared[Job]:
    return Prepared(lambda: Job.objects.filter(status__in=TERMINAL, queue_entries__status__in=statuses))


def end_cancelled() -> int:
    """End the waiting jobs that are to be cancelled and were tried before. Returns how many.

    A cancellation leaves a job that was submitted once to its dispatcher. One whose try failed may wait for long, as
    while the queue is paused, and no provider has it.
    """
    return sum(map(_end_waiting, _CANCELLED()))


def _end_waiting(entry: QueueEntry) -> bool:
    with unit_of_work():
        if not QueueEntry.objects.select_for_update().filter(pk=entry.pk, status__in=WAITING).exists():
            return False
        by: dict[str, Any] = {"actor": claims.DISPATCHER, "source": Source.DISPATCHER}
        reason = "cancelled before the provider accepted it"
        return lifecycle.finish(entry.job, JobStatus.CANCELLED, reason=reason, **by) and claims.end(entry.job, **by)


def run_pass() -> int:
    """Run one pass: claim and dispatch until nothing more may go, settle. Returns how many jobs were handed over."""
    # Only those that take a slot, since they keep others from going; the tick checks those that wait.
    close_ended(TAKES_SLOT)
    dispatched = async_to_sync(_dispatch_all)()
    settle_abandoned()
    return dispatched


async def _dispatch_all() -> int:
    """Keep up to MAX_CONCURRENT_CALLS submissions running, so that a slow provider delays nobody else's job."""
    deadline = time.monotonic() + PASS_SECONDS
    running: set[asyncio.Task[bool]] = set()
    dispatched, more, recorder = 0, True, ResultRecorder()
    while True:
        room = MAX_CONCURRENT_CALLS - len(running)
        # Not after each end: a decision costs the same for one entry as for twenty.
        if more and room > MAX_CONCURRENT_CALLS // 2 and time.monotonic() < deadline:
            try:
                entries = await sync_to_async(claims.claim_next)(room)
            except Exception:
                await asyncio.gather(*running)  # what they begin has to be recorded
                raise
            ready = await sync_to_async(_ready)(entries)
            running |= {asyncio.create_task(_dispatch_safely(entry, ready, recorder)) for entry in entries}
            more = bool(entries)
        if not running:
            return dispatched
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        dispatched += sum(task.result() for task in done)
        # A failure has freed its slot, so others may go now.
        more = more or not all(task.result() for task in done)


def _ready(entries: Sequence[QueueEntry]) -> dict[int, Job]:
    """Prepare them together. Should that fail, each is prepared by itself."""
    try:
        return repeat_when_lost(partial(prepare, entries))
    except Exception:
        logger.exception("Dispatch could not be prepared", extra={"entries": len(entries)})
        return {}


async def _dispatch_safely(entry: QueueEntry, ready: Mapping[int, Job], recorder: ResultRecorder) -> bool:
    """Dispatch one entry. Its failure must not keep the others from going; its lease brings it back."""
    with job_log_context(entry.job):
        try:
            job = ready.get(entry.pk) or await _prepared(entry)
            return job is not None and await _call(entry, job, None, recorder)
        except Exception:
            logger.exception("Dispatch failed")
            return False


def prepare(entries: Sequence[QueueEntry]) -> dict[int, Job]:
    """Return the jobs of claimed entries as they are to be submitted, their markers stored, by entry.

    Left out, to be prepared one by one: jobs that a guard selects, with a dataset, tried before, or not
    allowed to go.
    """
    jobs = Job.objects.select_related("organization").in_bulk([entry.job_id for entry in entries])
    guarded = extensions.guarded_jobs(list(jobs))
    begun = lifecycle.begin_submissions([job for job in jobs.values() if _is_plain(job) and job.pk not in guarded])
    return {entry.pk: jobs[entry.job_id] for entry in entries if entry.job_id in begun}


def _is_plain(job: Job) -> bool:
    return job.dataset_id is None and job.submission_marker is None
