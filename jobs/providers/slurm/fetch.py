"""Submit to Slurm, and fetch the state of many trainings with one request.

`GET /jobs` has every job that Slurm knows. Those that it lacks are asked for one by one, since only "there is no such
job" means that one is gone, and are then settled by what they left on the shared folder.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.providers.base import Answers, Handle, ProviderError, Snapshot
from jobs.providers.clusters.training_folder import Run, folder_errors
from jobs.providers.slurm import answers, identity, shapes
from jobs.providers.slurm.access import INVALID_JOB_ID, SlurmError, read_errors
from jobs.providers.slurm.folder import SharedFolder, require_ours
from jobs.providers.slurm.shapes import SlurmJob
from jobs.statuses import TERMINAL, JobStatus

if TYPE_CHECKING:
    from jobs.providers.slurm.client import Connection

logger = logging.getLogger("simpletuner.cloud.providers")

MAX_CONCURRENT_LOOKUPS = 8
LEFTOVERS = (*answers.WAITING, "RUNNING", "SUSPENDED")


async def submit(slurm: Connection, marker: str, body: Mapping[str, Any]) -> Snapshot:
    """Submit once. With a number there is a job, whatever else Slurm says: it waits, maybe for ever."""
    answer = await slurm.post("/job/submit", body)
    job_id, remarks = answer.get("job_id"), [text for _, text in read_errors(answer)]
    if not isinstance(job_id, int) or job_id < 1:
        reason = remarks[0] if remarks else "it gave the job no number"
        raise SlurmError(f"Slurm did not accept the job: {reason.rstrip('.')}.")
    return Snapshot(
        marker,
        JobStatus.QUEUED,
        metadata={"slurm_job_id": job_id},
        waiting_reason=f"The cluster keeps the job waiting: {remarks[0].rstrip('.')}." if remarks else None,
    )


async def list_jobs(slurm: Connection) -> list[SlurmJob]:
    body = await slurm.get("/jobs")
    if not isinstance(body.get("jobs"), list):
        raise SlurmError("Slurm's answer has no list of jobs.")
    return shapes.read_jobs(body)


def find(shared: Path, markers: Sequence[str], jobs: Sequence[SlurmJob], user: str) -> Mapping[str, Snapshot]:
    """Return the trainings that carry one of `markers`: Slurm's jobs, and what ended ones left on the shared folder."""
    require_ours(shared)
    found, by_marker = {}, identity.by_marker(jobs, user)
    with folder_errors():
        for marker in markers:
            snapshot = _found(marker, SharedFolder(shared, marker), by_marker.get(marker, ()))
            if snapshot:
                found[marker] = snapshot
    return found


def _found(marker: str, folder: SharedFolder, jobs: Sequence[SlurmJob]) -> Snapshot | None:
    records = answers.Records.of(folder)
    job = answers.own_job(jobs, records)
    if job:
        return answers.training_snapshot(marker, job, folder, records, None)
    return answers.forgotten_snapshot(marker, folder, records, None) if records.has_begun else None


async def fetch(slurm: Connection, shared: Path, handles: Sequence[Handle]) -> Answers:
    jobs = await list_jobs(slurm)
    found, missing = await asyncio.to_thread(_read, shared, handles, jobs, slurm.instance.user)
    turn = asyncio.Semaphore(MAX_CONCURRENT_LOOKUPS)

    async def settle(handle: Handle) -> None:
        async with turn:
            try:
                snapshot = await _settle(slurm, shared, handle)
            except ProviderError as error:
                found[handle.job_id] = error
            else:
                found.update({handle.job_id: snapshot} if snapshot else {})

    await asyncio.gather(*map(settle, missing))
    await _remove_leftovers(slurm, shared, handles, found, jobs)
    return found


def _read(
    shared: Path, handles: Sequence[Handle], jobs: Sequence[SlurmJob], user: str
) -> tuple[dict[str, Snapshot | ProviderError], list[Handle]]:
    """Return what the list says of the trainings, and those that it doesn't have."""
    if any(map(identity.is_ours, handles)):
        require_ours(shared)
    by_marker, by_number = identity.by_marker(jobs, user), {job.job_id: job for job in jobs}
    found: dict[str, Snapshot | ProviderError] = {}
    missing = []
    for handle in handles:
        try:
            if identity.is_ours(handle):
                snapshot = _read_ours(shared, handle, by_marker.get(handle.external_id, ()))
            else:
                job = identity.foreign_job(handle.external_id, by_number)
                snapshot = answers.snapshot_of(handle.external_id, job) if job else None
        except ProviderError as error:
            found[handle.job_id] = error
            continue
        if snapshot:
            found[handle.job_id] = snapshot
        else:
            missing.append(handle)
    return found, missing


def _read_ours(shared: Path, handle: Handle, jobs: Sequence[SlurmJob]) -> Snapshot | None:
    """Return what Slurm's jobs with the handle's marker say. None: the one that began is none of them."""
    if len(jobs) == 1 and _has_left_nothing(handle, jobs[0]):
        return answers.snapshot_of(handle.external_id, jobs[0])
    folder = SharedFolder(shared, handle.external_id)
    with folder_errors():
        records = answers.Records.of(folder)
        job = answers.own_job(jobs, records)
        if job is None or records.slurm_job not in (None, job.job_id):
            return None
        return answers.training_snapshot(handle.external_id, job, folder, records, handle.cancel_requested_at)


def _has_left_nothing(handle: Handle, job: SlurmJob) -> bool:
    """Whether a job waits that can have written nothing to the shared folder yet, which spares reading it."""
    is_known = identity.number_of(handle) == job.job_id
    return is_known and job.state in answers.WAITING and not job.restarts


async def _settle(slurm: Connection, shared: Path, handle: Handle) -> Snapshot | None:
    """Return the state of a training that the list doesn't have. None: the next look will tell."""
    if not identity.is_ours(handle):
        return await _settle_foreign(slurm, handle)
    folder = SharedFolder(shared, handle.external_id)
    # In a thread: a shared folder that hangs must not hold the answers of other providers.
    records = await asyncio.to_thread(_records_of, folder)
    if await _is_known(slurm, handle, records.slurm_job or identity.number_of(handle)):
        return None
    body, snapshot = await asyncio.to_thread(_settle_by_folder, folder, records, handle)
    if body is None:
        return snapshot
    logger.warning("Slurm lost a job that it had accepted; it is submitted again", extra={"job_id": handle.job_id})
    return await submit(slurm, handle.external_id, body)


def _records_of(folder: SharedFolder) -> answers.Records:
    with folder_errors():
        return answers.Records.of(folder)


def _settle_by_folder(
    folder: SharedFolder, records: answers.Records, handle: Handle
) -> tuple[Mapping[str, Any] | None, Snapshot | None]:
    """Return what to submit again, or else what the training left."""
    asked_at, body = handle.cancel_requested_at, None
    with folder_errors():
        if not (records.has_begun or asked_at or answers.was_stored(handle.metadata)):
            body = folder.take_submission()
        if body is not None:
            return body, None
        return None, answers.forgotten_snapshot(handle.external_id, folder, records, asked_at)


async def _settle_foreign(slurm: Connection, handle: Handle) -> Snapshot | None:
    if await _is_known(slurm, handle, identity.number_of(handle)):
        return None
    now = datetime.now(UTC)
    return Snapshot(handle.external_id, JobStatus.FAILED, completed_at=now, error_message=answers.LOST)


async def _is_known(slurm: Connection, handle: Handle, number: int | None) -> bool:
    """Whether Slurm has the job after all: it has come into the list meanwhile."""
    job = await _look_up(slurm, number) if number else None
    return job is not None and identity.is_of(handle, job, slurm.instance.user)


async def _look_up(slurm: Connection, number: int) -> SlurmJob | None:
    """Return one job; None when Slurm says that there is none of that number."""
    try:
        jobs = shapes.read_jobs(await slurm.get(f"/job/{number}"))
    except SlurmError as error:
        if error.code == INVALID_JOB_ID:
            return None
        raise
    if not jobs:
        raise SlurmError("Slurm's answer has no job.")
    return jobs[0]


async def _remove_leftovers(
    slurm: Connection, shared: Path, handles: Sequence[Handle], found: Answers, jobs: Sequence[SlurmJob]
) -> None:
    """Remove what Slurm still has for trainings that have ended: it trains nothing, but takes nodes.

    Those of earlier looks too: a controller that is killed within some seconds of a removal has forgotten it.
    """
    left = [job for job in jobs if job.state in LEFTOVERS and identity.marker_of(job, slurm.instance.user)]
    others = {job.name for job in left} - {handle.external_id for handle in handles}
    ended = {handle.external_id for handle in handles if _has_ended(found.get(handle.job_id))}
    ended |= await asyncio.to_thread(_ended_long_ago, shared, others) if others else set()
    for job in left:
        if job.name in ended:
            try:
                await slurm.delete(f"/job/{job.job_id}")
            except SlurmError as error:
                logger.warning("A job could not be removed", extra={"job": job.job_id, "error": str(error)})


def _ended_long_ago(shared: Path, markers: Collection[str]) -> set[str]:
    """Return the markers of trainings whose end was recorded so long ago that Slurm should have learned of it."""
    return {marker for marker in markers if answers.is_overdue(_run_of(SharedFolder(shared, marker)).ended_at)}


def _run_of(folder: SharedFolder) -> Run:
    try:
        return folder.run()
    except OSError:
        return Run()  # nothing is removed by what can't be read


def _has_ended(answer: Snapshot | ProviderError | None) -> bool:
    return isinstance(answer, Snapshot) and answer.status in TERMINAL
