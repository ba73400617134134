"""Transfer datasets to their providers, and then submit the jobs: a training is requested only when its data is there.

It runs in a thread of its own on every machine, since a transfer takes longer than any pass may; a machine transfers
the archives that it has. Killed at any line, it leaves nothing that costs money, and the next one begins again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Coroutine
from datetime import timedelta

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from cloudtrain_site.states import Source
from jobs.datasets import staging as job_staging
from jobs.datasets import store
from jobs.job_context import job_log_context
from jobs.models import DatasetUpload, Job
from jobs.providers import get_provider
from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, StagesDatasets, StoppedError, TransferProgress
from jobs.statuses import JobStatus
from queueing import claims, dispatch, staging
from queueing.models import QueueEntry

logger = logging.getLogger("simpletuner.cloud.queue")

MAX_CONCURRENT_TRANSFERS = 4
#: The interval at which progress is recorded and a cancellation noticed.
PROGRESS_SECONDS = 1.0
#: A transfer that has not moved for this long fails; longer than the timeout of the answer to the last byte.
STALL_SECONDS = 90.0
#: The time that a stopped transfer has to notice.
STOP_SECONDS = 5.0
#: An archive that no machine has had for this long won't turn up.
MISSING_AFTER = timedelta(minutes=10)

#: Provider, and the dataset that goes there.
Key = tuple[str, str]


def run() -> int:
    """Work until nothing is left to transfer. Returns how many jobs were handed over."""
    return async_to_sync(_run)() if staging.waiting() else 0


async def _run() -> int:
    running: dict[asyncio.Task[bool], Key] = {}
    handed_over = 0
    while True:
        for entry in await sync_to_async(_claim_some)(MAX_CONCURRENT_TRANSFERS - len(running), set(running.values())):
            running[asyncio.create_task(_send_safely(entry))] = _key(entry)
        if not running:
            return handed_over
        done, _ = await asyncio.wait(running, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del running[task]
            handed_over += task.result()


def _key(entry: QueueEntry) -> Key:
    return entry.provider, entry.job.dataset_id or entry.job_id


def _claim_some(room: int, busy: set[Key]) -> list[QueueEntry]:
    claimed: list[QueueEntry] = []
    for entry in staging.waiting() if room else ():
        # One transfer of a dataset at a time: the second job finds it there.
        if len(claimed) < room and _key(entry) not in busy and _is_ours(entry) and staging.claim_staging(entry):
            busy.add(_key(entry))
            claimed.append(entry)
    return claimed


def _is_ours(entry: QueueEntry) -> bool:
    """Whether this machine has the archive, or no machine has it, and this one has to report that."""
    upload = entry.job.dataset
    if upload is None or store.path_of(upload).is_file() or upload.stored_on == socket.gethostname():
        return True
    return entry.lease_until is not None and entry.lease_until < timezone.now() - MISSING_AFTER


async def _send_safely(entry: QueueEntry) -> bool:
    """Transfer one dataset. Its failure must not end the others."""
    with job_log_context(entry.job):
        try:
            return await _send_and_submit(entry)
        except Exception as error:
            logger.exception("Transfer of a dataset failed")
            await sync_to_async(_handle_failure)(entry, ProviderError(f"the dataset could not be sent: {error!r}"))
            return False


async def _send_and_submit(entry: QueueEntry) -> bool:
    """Transfer the dataset of a claimed entry, then submit its job. True: the provider has the job."""
    upload = entry.job.dataset
    if upload is None:
        return await sync_to_async(staging.end)(entry) and await dispatch.submit_safely(entry)
    try:
        copy = await _send(entry, upload)
    except ProviderError as error:
        await sync_to_async(_handle_failure)(entry, error)
        return False
    if copy is None:
        await sync_to_async(_abandon)(entry)
        return False
    await sync_to_async(store.record_copy)(upload, entry.provider, copy)
    if not await sync_to_async(staging.end)(entry):
        return False
    return await dispatch.submit_safely(entry, dispatch.Staged(upload.pk, copy.address))


async def _send(entry: QueueEntry, upload: DatasetUpload) -> RemoteCopy | None:
    """Transfer the dataset and return the provider's copy. None: the transfer was stopped."""
    provider = get_provider(entry.job.provider)
    if not isinstance(provider, StagesDatasets):
        raise ProviderError(f"{provider.label} accepts no datasets.", permanent=True)
    transfer = await sync_to_async(_dataset_transfer)(entry.job, upload)
    logger.info("Bringing a dataset to the provider", extra={"upload_id": upload.pk, "size": upload.size})
    progress = TransferProgress(upload.size)
    if not await sync_to_async(_record_progress)(entry, progress, provider.staging):
        return None
    return await _watch(entry, provider.stage(transfer, progress), progress, provider.staging)


def _dataset_transfer(job: Job, upload: DatasetUpload) -> DatasetTransfer:
    path = store.path_of(upload)
    if not path.is_file():
        raise ProviderError("The dataset's archive no longer exists. Upload it again.", permanent=True)
    return DatasetTransfer(
        job_id=job.pk,
        path=path,
        name=upload.name,
        kind=upload.kind,
        size=upload.size,
        unpacked_size=upload.unpacked_size,
        sha256=upload.sha256,
        copy=store.copy_at(upload, job.provider),
    )


async def _watch(
    entry: QueueEntry, work: Coroutine[None, None, RemoteCopy], progress: TransferProgress, stage: str
) -> RemoteCopy | None:
    """Let `work` run as long as it moves, the job is wanted and the claim is ours. None: it was stopped."""
    task = asyncio.create_task(work)
    last_done, moved_at = -1, time.monotonic()
    try:
        while not (await asyncio.wait({task}, timeout=PROGRESS_SECONDS))[0]:
            if progress.done != last_done:
                last_done, moved_at = progress.done, time.monotonic()
            elif time.monotonic() - moved_at > STALL_SECONDS:
                raise ProviderError(f"The transfer of the dataset made no progress for {STALL_SECONDS:.0f} s.")
            if not await sync_to_async(_record_progress)(entry, progress, stage):
                return None
        return task.result()
    except StoppedError:
        return None
    finally:
        if not task.done():
            await _stop(task, progress)


async def _stop(task: asyncio.Task[RemoteCopy], progress: TransferProgress) -> None:
    """Stop the transfer; through `progress` first, since a thread can't be cancelled."""
    progress.stop()
    await asyncio.wait({task}, timeout=STOP_SECONDS)
    task.cancel()
    await asyncio.wait({task}, timeout=STOP_SECONDS)


def _record_progress(entry: QueueEntry, progress: TransferProgress, stage: str) -> bool:
    """Record the progress and renew the lease. False: the transfer is to stop."""
    job, upload = entry.job, entry.job.dataset
    if upload is None or not staging.renew(entry):
        return False
    if progress.done:
        store.record_sent(upload, entry.provider, int(upload.size * progress.percent / 100))
    message = f"{stage}: {progress.done / 1e6:.1f} of {progress.total / 1e6:.1f} MB"
    return job_staging.record_staging_progress(job, progress.percent, message)


def _handle_failure(entry: QueueEntry, error: ProviderError) -> None:
    """Treat any failure as one before the submission: no training was requested."""
    error.nothing_created = True
    if entry.job.dataset is not None:
        store.delete_unfinished_copy(entry.job.dataset, entry.provider)
    dispatch.handle_refusal(entry, entry.job, error)


def _abandon(entry: QueueEntry) -> None:
    """Settle the entry of a job that was cancelled or has ended. If the claim was taken over, do nothing."""
    job = entry.job
    if job.dataset is not None:
        store.delete_unfinished_copy(job.dataset, entry.provider)
    job.refresh_from_db()
    if job.is_terminal:
        claims.end(job, actor=claims.DISPATCHER, source=Source.DISPATCHER)
    elif job.cancel_requested_at is not None:
        reason = "cancelled while its dataset was being sent"
        dispatch.end_unsubmitted(
            entry, job, JobStatus.CANCELLED, reason, actor=claims.DISPATCHER, source=Source.DISPATCHER
        )
