"""A training's state, from what Slurm says of its job and from the runner's records on the shared folder.

Slurm decides whether it still runs. How it ended is the runner's word where there is one, since the trainer's exit code
and its last lines say more; Slurm's where there is none, because the whole job was killed or never began.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.providers.base import Snapshot
from jobs.providers.local import log
from jobs.providers.local.folder import End, Start, modified_at
from jobs.providers.local.status import exit_text
from jobs.providers.runner.node import CANT_WRITE, HAS_TRAINED
from jobs.providers.slurm.folder import SharedJobFolder
from jobs.providers.slurm.script import NO_PYTHON, NOT_SHARED
from jobs.providers.slurm.shapes import SlurmJob
from jobs.statuses import ACTIVE, JobStatus

logger = logging.getLogger("simpletuner.cloud.providers")

#: A job that Slurm doesn't know any more may still be ending: its log was written to that recently.
STILL_WRITING = timedelta(seconds=60)
#: Slurm stores a new job within 5 s: one that was seen later than this after its submission is not lost by a crash.
STORED_AFTER = timedelta(seconds=15)
SEEN = "slurm_seen"

#: It has not begun, or is to begin again.
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
STATUSES: Mapping[str, JobStatus] = {
    **dict.fromkeys(WAITING, JobStatus.QUEUED),
    "SUSPENDED": JobStatus.QUEUED,
    **dict.fromkeys(("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"), JobStatus.RUNNING),
    "COMPLETED": JobStatus.COMPLETED,
    **dict.fromkeys(
        ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "TIMEOUT", "LAUNCH_FAILED"), JobStatus.FAILED
    ),
    **dict.fromkeys(("CANCELLED", "PREEMPTED", "REVOKED"), JobStatus.CANCELLED),
}

LOST = "Slurm does not know the job any more, and nothing was left to see how it ended; its exit status is unknown."
NEVER_BEGAN = "Slurm does not know the job any more, and it never began: it was removed at the cluster, or lost there."
RAN_AGAIN = "Slurm put the job back to begin again, as it does when a node fails. Nothing is trained twice."
CANCELLED_THERE = "The job was cancelled at the cluster, not here."
STOPPED = "The training was stopped at the cluster by SIGTERM, as Slurm does at a job's time limit."

#: What Slurm waits for, by its word. The rest is said with the word alone.
WAITS: Mapping[str, str] = {
    "Priority": "other jobs of the cluster go first",
    "Dependency": "it waits for another job",
    "BeginTime": "its time has not come",
    "JobHeldUser": "it is held at the cluster; `scontrol release` lets it go",
    "JobHeldAdmin": "the cluster's administrator holds it",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "its partition can't give it so many nodes",
    "PartitionTimeLimit": "its time limit is longer than its partition allows",
    "PartitionConfig": "its partition has no nodes with what it asks for",
    "BadConstraints": "no node has what it asks for",
    "ReqNodeNotAvail": "nodes that it needs are down or reserved",
    "NodeDown": "nodes that it needs are down",
    "Reservation": "its reservation has not begun",
    "Licenses": "the cluster is out of a license",
    "InvalidAccount": "its account does not exist any more",
    "InvalidQOS": "its quality of service does not exist any more",
    "Cleaning": "its last run is being cleaned up",
}


@dataclass(frozen=True, slots=True)
class Records:
    """What the job's folder says: of the Slurm job that began, the runner's start and its end."""

    slurm_job: int | None = None
    start: Start | None = None
    end: End | None = None

    @classmethod
    def of(cls, folder: SharedJobFolder) -> Records:
        # The end first: where both are wanted, a start without an end must not be one that ended in between.
        end = folder.end()
        return cls(folder.slurm_job(), folder.start(), end)


def own_job(jobs: Sequence[SlurmJob], records: Records) -> SlurmJob | None:
    """Return which of the jobs with one marker is the training's: the one that began, or else is to begin."""
    for job in jobs:
        if job.job_id == records.slurm_job:
            return job
    alive = [job for job in jobs if STATUSES.get(job.state) in ACTIVE]
    return min(alive, key=lambda job: job.job_id) if alive else max(jobs, key=lambda job: job.job_id, default=None)


def snapshot_of(external_id: str, job: SlurmJob) -> Snapshot:
    """Return a job as Slurm alone describes it."""
    status = _status(job)
    is_over = status is not None and status not in ACTIVE
    ended_at = job.ended_at if is_over else None
    seconds = (ended_at - job.started_at).total_seconds() if ended_at and job.started_at else None
    return Snapshot(
        external_id=external_id,
        status=status,
        started_at=job.started_at,
        completed_at=ended_at,
        error_message=_end_by_slurm(job) if is_over else None,
        billed_seconds=0.0 if is_over and job.started_at is None else seconds,
        metadata=_metadata(job),
        waiting_reason=waiting_reason(job) if status == JobStatus.QUEUED else None,
    )


def training_snapshot(
    external_id: str, job: SlurmJob, folder: SharedJobFolder, records: Records, asked_at: datetime | None
) -> Snapshot:
    """Return a training of ours that Slurm has or had."""
    plain = snapshot_of(external_id, job)
    if job.state in WAITING and job.job_id == records.slurm_job and (records.start or records.end):
        return _begun_again(plain, folder, records, asked_at)
    if plain.status is None or plain.status in ACTIVE:
        return _with_log(plain, folder)
    status, error = _end_of(job, folder, records, asked_at, plain)
    return _ended(plain, folder, status, error)


def _begun_again(plain: Snapshot, folder: SharedJobFolder, records: Records, asked_at: datetime | None) -> Snapshot:
    """Return a training whose job is to begin again, as after a failure of its node: it has ended, or soon will."""
    if records.end is None and _is_writing(folder):
        return replace(_with_log(plain, folder), status=JobStatus.RUNNING, waiting_reason=None)
    status, error = JobStatus.FAILED, None
    if records.end is not None:
        status, error = _end_by_runner(folder, records.end, asked_at)
    elif asked_at is not None:
        status = JobStatus.CANCELLED
    started_at = records.start.started_at if records.start else None
    ended_at = records.end.ended_at if records.end else datetime.now(UTC)
    plain = replace(plain, started_at=started_at, completed_at=ended_at, waiting_reason=None)
    return _ended(
        plain, folder, status, RAN_AGAIN if status == JobStatus.FAILED and error in (None, STOPPED) else error
    )


def forgotten_snapshot(
    external_id: str, folder: SharedJobFolder, records: Records, asked_at: datetime | None
) -> Snapshot | None:
    """Return a training that Slurm doesn't know any more, by its records. None: it may still be running."""
    start, end = records.start, records.end
    if end is None and _is_writing(folder):
        return None
    if end is not None:
        status, error = _end_by_runner(folder, end, asked_at)
    elif asked_at is not None:
        status, error = JobStatus.CANCELLED, None
    else:
        status, error = JobStatus.FAILED, LOST if start or records.slurm_job else NEVER_BEGAN
    ended_at = end.ended_at if end else datetime.now(UTC)
    started_at = start.started_at if start else None
    seconds = max(0.0, (ended_at - started_at).total_seconds()) if started_at and end else None
    plain = Snapshot(
        external_id,
        status,
        started_at=started_at,
        completed_at=ended_at,
        billed_seconds=seconds if started_at else 0.0,
        metadata={"slurm_job_id": records.slurm_job} if records.slurm_job else {},
    )
    return _ended(plain, folder, status, error)


def was_stored(metadata: Mapping[str, Any]) -> bool:
    """Whether Slurm had stored the job: what it forgot then was removed there, and not lost by a crash."""
    return bool(metadata.get(SEEN))


def _status(job: SlurmJob) -> JobStatus | None:
    status = STATUSES.get(job.state)
    if status is None:
        logger.warning("Unknown state at Slurm", extra={"external_id": job.job_id, "status": job.state[:40]})
    return status


def _metadata(job: SlurmJob) -> dict[str, Any]:
    found: dict[str, Any] = {"slurm_job_id": job.job_id}
    if job.nodes:
        found["slurm_nodes"] = job.nodes[:200]
    if job.submitted_at and datetime.now(UTC) - job.submitted_at > STORED_AFTER:
        found[SEEN] = True
    return found


def _with_log(snapshot: Snapshot, folder: SharedJobFolder) -> Snapshot:
    return replace(snapshot, progress=log.follow_progress(folder.log))


def _ended(snapshot: Snapshot, folder: SharedJobFolder, status: JobStatus, error: str | None) -> Snapshot:
    """Return the last snapshot of a training, and see to it that its secrets have gone from the folder."""
    folder.drop_secrets()
    progress = log.follow_progress(folder.log)
    log.stop_following(folder.log)
    has_completed = status == JobStatus.COMPLETED
    return replace(
        snapshot,
        status=status,
        error_message=error,
        progress=progress,
        output_url=folder.output.as_uri() if folder.has_output() else None,
        first_step=log.began_at_step(folder.log, progress.total) if progress and has_completed else None,
    )


def _end_of(
    job: SlurmJob, folder: SharedJobFolder, records: Records, asked_at: datetime | None, plain: Snapshot
) -> tuple[JobStatus, str | None]:
    assert plain.status is not None
    end = records.end
    if end is not None and end.exit_code == 0 and not end.stopped and not end.error:
        return JobStatus.COMPLETED, None  # whatever happened to the job after that
    if job.state == "CANCELLED":
        return JobStatus.CANCELLED, None if asked_at or folder.cancel_requested_at() else CANCELLED_THERE
    if plain.status == JobStatus.CANCELLED or job.state not in ("COMPLETED", "FAILED"):
        return plain.status, plain.error_message
    if end is not None:
        return _end_by_runner(folder, end, asked_at)
    if asked_at is not None and records.start is None:
        return JobStatus.CANCELLED, None
    if records.start is None:
        return JobStatus.FAILED, _failed_start(job, folder)
    has_run_again = job.exit_code == HAS_TRAINED and not job.signal
    return JobStatus.FAILED, RAN_AGAIN if has_run_again else plain.error_message or LOST


def _end_by_runner(folder: SharedJobFolder, end: End, asked_at: datetime | None) -> tuple[JobStatus, str | None]:
    # Slurm sends SIGTERM to all at once: the trainer may have ended before its runner could note that it was stopped.
    is_stopped = end.stopped or end.exit_code in (None, -signal.SIGTERM, 128 + signal.SIGTERM)
    if is_stopped and not end.error and (asked_at is not None or folder.cancel_requested_at() is not None):
        return JobStatus.CANCELLED, None
    if end.error or is_stopped:
        return JobStatus.FAILED, end.error or STOPPED
    if end.exit_code == 0:
        return JobStatus.COMPLETED, None
    assert end.exit_code is not None
    message = log.final_lines(folder.log)
    return JobStatus.FAILED, exit_text(end.exit_code) + (f": {message}" if message else ".")


def _failed_start(job: SlurmJob, folder: SharedJobFolder) -> str:
    """Return why a job ended before its trainer was started, by the exit code of its script or of the runner."""
    node = job.first_node or "The node"
    words = folder.last_words()
    sentences = {
        NOT_SHARED: f"{node} does not see the job's folder on the shared folder, or may not read it: the shared folder "
        "has to be mounted there under the same path.",
        NO_PYTHON: f"{node} has no Python: set the provider's `python` to a Python of 3.8 or newer there.",
        CANT_WRITE: f"The job's folder could not be written on {node}: it is full or read-only.",
        HAS_TRAINED: "Another Slurm job of this submission began before; nothing is trained twice.",
    }
    found = sentences.get(job.exit_code) if not job.signal else None
    return found or " ".join(filter(None, [_end_by_slurm(job), words])) or LOST


def _end_by_slurm(job: SlurmJob) -> str | None:
    limit = f" of {job.time_limit_minutes} minutes" if job.time_limit_minutes else ""
    node = f" on {job.nodes}" if job.nodes else ""
    sentences = {
        "TIMEOUT": f"Slurm ended the job at its time limit{limit} (TIMEOUT).",
        "NODE_FAIL": f"A node of the job failed{node} (NODE_FAIL).",
        "OUT_OF_MEMORY": f"The job needed more memory than it had asked for{node} (OUT_OF_MEMORY).",
        "BOOT_FAIL": f"The job's nodes could not be started{node} (BOOT_FAIL).",
        "DEADLINE": "Slurm ended the job at its deadline (DEADLINE).",
        "PREEMPTED": "Slurm took the job's place for another one (PREEMPTED).",
        "REVOKED": "Another cluster of the federation has the job (REVOKED).",
        "CANCELLED": None,
        "COMPLETED": None,
    }
    if job.state in sentences:
        return sentences[job.state]
    return f"The job failed{node}: {_how(job)} ({job.state}{_reason(job)})."


def _how(job: SlurmJob) -> str:
    if job.signal:
        return f"it was killed by signal {job.signal} ({signal.strsignal(job.signal) or 'unknown'})"
    return f"it ended with exit code {job.exit_code}"


def _reason(job: SlurmJob) -> str:
    return f", {job.reason}" if job.reason not in ("", "None", "NonZeroExitCode") else ""


def waiting_reason(job: SlurmJob) -> str:
    """Return what the cluster waits for before it starts a job, as a sentence with Slurm's own word at the end."""
    # Slurm adds what it found to some of them: "ReqNodeNotAvail, UnavailableNodes:n3".
    word, said = job.reason.partition(",")[0].strip(), job.reason[:120].rstrip(".")
    if job.state == "SUSPENDED":
        return "The job is paused at the cluster: Suspended."
    if word == "Resources":
        what = f"{job.gpus} GPU{'' if job.gpus == 1 else 's'}" if job.gpus else "free nodes"
        return f"The cluster waits for {what}: {said}."
    if word in ("", "None"):
        return "The cluster has not looked at it yet."
    why = f", as {WAITS[word]}" if word in WAITS else ""
    return f"The cluster lets it wait{why}: {said}."


def _is_writing(folder: SharedJobFolder) -> bool:
    try:
        return datetime.now(UTC) - modified_at(folder.log) < STILL_WRITING
    except OSError:
        return False
