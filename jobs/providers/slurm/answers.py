"""A training's state, from what Slurm says of its job and from the runner's records on the shared folder.

Slurm decides whether it still runs. How it ended is the runner's word where there is one, since the trainer's exit code
and its last lines say more; Slurm's where there is none, because the whole job was killed or never began.
"""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.providers.base import Snapshot
from jobs.providers.clusters.training_folder import Run
from jobs.providers.local import log
from jobs.providers.local.folder import modified_at
from jobs.providers.local.status import exit_text
from jobs.providers.runner.node import CANT_WRITE, HAS_TRAINED
from jobs.providers.slurm.folder import SharedFolder
from jobs.providers.slurm.script import NO_PYTHON, NOT_SHARED
from jobs.providers.slurm.shapes import SlurmJob
from jobs.statuses import ACTIVE, JobStatus

logger = logging.getLogger("simpletuner.cloud.providers")

#: A job that Slurm doesn't know any more may still be ending: its log was written to that recently.
STILL_WRITING = timedelta(seconds=60)
#: Slurm learns of an end within seconds, or never, when its daemons are killed just then (measured): after this the
#: runner's record alone counts.
UNHEARD_AFTER = timedelta(seconds=60)
#: Slurm stores a new job within 5 s: one that was seen later than this after its submission is not lost by a crash.
STORED_AFTER = timedelta(seconds=15)
SEEN = "slurm_seen"

#: It has not begun, or is to begin again.
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
#: Slurm ended it while it ran.
STOPPED_BY_SLURM = ("TIMEOUT", "DEADLINE", "PREEMPTED", "REVOKED")
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

#: Lines that Slurm adds to a log when it ends the training on all nodes; its line about the one that failed stays.
SLURMS_LINES = re.compile(
    r"slurmstepd-|srun: (?:Force|Job step|Terminating|forcing|got|error: .*: (?:Terminated|Killed))"
)

LOST = "Slurm no longer knows the job, which left no record of how it ended: its exit status is unknown."
NEVER_BEGAN = "Slurm no longer knows the job, which never started: it was removed or lost at the cluster."
RAN_AGAIN = "Slurm requeued the job, as it does when a node fails. It is not trained again."
CANCELLED_THERE = "The job was cancelled at the cluster."
STOPPED = "The training was stopped at the cluster (SIGTERM), probably at its time limit."

#: What Slurm waits for, by its word. The rest is said with the word alone.
WAITS: Mapping[str, str] = {
    "Priority": "other jobs have priority",
    "Dependency": "it waits for another job",
    "BeginTime": "its start time has not come yet",
    "JobHeldUser": "it is held at the cluster; `scontrol release` releases it",
    "JobHeldAdmin": "the cluster's administrator holds it",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition accepts no jobs now",
    "PartitionNodeLimit": "its partition can't provide so many nodes",
    "PartitionTimeLimit": "its time limit is longer than its partition allows",
    "PartitionConfig": "no node of its partition fits the job",
    "BadConstraints": "no node fits the job",
    "ReqNodeNotAvail": "nodes that it needs are down or reserved",
    "NodeDown": "nodes that it needs are down",
    "Reservation": "its reservation has not started",
    "Licenses": "a license is in use elsewhere",
    "InvalidAccount": "its account no longer exists",
    "InvalidQOS": "its quality of service no longer exists",
    "Cleaning": "its last run is being cleaned up",
}
#: Slurm has a word for each limit, such as AssocGrpCpuLimit and QOSMaxJobsPerUserLimit.
LIMITS, AT_LIMIT = ("Assoc", "QOS"), "its account or quality of service is at a limit"


@dataclass(frozen=True, slots=True)
class Records:
    """What the folder says: of the Slurm job that began, and of the runner's start and end."""

    slurm_job: int | None = None
    run: Run = field(default_factory=Run)

    @classmethod
    def of(cls, folder: SharedFolder) -> Records:
        return cls(folder.slurm_job(), folder.run())

    @property
    def has_begun(self) -> bool:
        return self.slurm_job is not None or self.run.started_at is not None

    @property
    def is_recorded(self) -> bool:
        """Whether the runner recorded the end."""
        return self.run.ended_at is not None


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
    external_id: str, job: SlurmJob, folder: SharedFolder, records: Records, asked_at: datetime | None
) -> Snapshot:
    """Return a training of ours that Slurm has or had."""
    plain = snapshot_of(external_id, job)
    if job.state in WAITING and job.job_id == records.slurm_job and (records.run.started_at or records.is_recorded):
        return _begun_again(plain, folder, records, asked_at)
    if plain.status is None:
        return _with_log(plain, folder)
    if plain.status in ACTIVE:
        return _unheard_end(plain, folder, records, asked_at) or _with_log(plain, folder)
    status, error = _end_of(job, folder, records, asked_at, plain)
    if _is_end_settled(plain, folder, records, status, error):
        return _ended(plain, folder, status, error)
    return training_snapshot(external_id, job, folder, Records.of(folder), asked_at)


def _unheard_end(plain: Snapshot, folder: SharedFolder, records: Records, asked_at: datetime | None) -> Snapshot | None:
    """Return a training that has ended though Slurm says that it runs. None: it has not, or Slurm may still learn."""
    ended_at = records.run.ended_at
    if ended_at is None or not is_overdue(ended_at):
        return None
    status, error = _end_by_runner(folder, records.run, asked_at)
    seconds = max(0.0, (ended_at - plain.started_at).total_seconds()) if plain.started_at else None
    plain = replace(plain, completed_at=ended_at, billed_seconds=seconds, waiting_reason=None)
    return _ended(plain, folder, status, error)


def _begun_again(plain: Snapshot, folder: SharedFolder, records: Records, asked_at: datetime | None) -> Snapshot:
    """Return a training whose job is to begin again, as after a failure of its node: it has ended, or soon will."""
    if not records.is_recorded and _is_writing(folder):
        return replace(_with_log(plain, folder), status=JobStatus.RUNNING, waiting_reason=None)
    status, error = JobStatus.FAILED, None
    if records.is_recorded:
        status, error = _end_by_runner(folder, records.run, asked_at)
    elif asked_at is not None:
        status = JobStatus.CANCELLED
    if status == JobStatus.FAILED and error in (None, STOPPED):
        error = RAN_AGAIN
    ended_at = records.run.ended_at or datetime.now(UTC)
    plain = replace(plain, started_at=records.run.started_at, completed_at=ended_at, waiting_reason=None)
    if _is_end_settled(plain, folder, records, status, error):
        return _ended(plain, folder, status, error)
    return _begun_again(plain, folder, Records.of(folder), asked_at)


def forgotten_snapshot(
    external_id: str, folder: SharedFolder, records: Records, asked_at: datetime | None
) -> Snapshot | None:
    """Return a training that Slurm doesn't know any more, by its records. None: it may still be running."""
    run = records.run
    if not records.is_recorded and _is_writing(folder):
        return None
    if records.is_recorded:
        status, error = _end_by_runner(folder, run, asked_at)
    elif asked_at is not None:
        status, error = JobStatus.CANCELLED, None
    else:
        status, error = JobStatus.FAILED, LOST if records.has_begun else NEVER_BEGAN
    plain = Snapshot(
        external_id,
        status,
        started_at=run.started_at,
        completed_at=run.ended_at or datetime.now(UTC),
        billed_seconds=run.seconds if records.has_begun else 0.0,
        metadata={"slurm_job_id": records.slurm_job} if records.slurm_job else {},
    )
    if _is_end_settled(plain, folder, records, status, error):
        return _ended(plain, folder, status, error)
    return forgotten_snapshot(external_id, folder, Records.of(folder), asked_at)


def is_overdue(ended_at: datetime | None) -> bool:
    """Whether Slurm should have learned of an end that the runner recorded."""
    return ended_at is not None and datetime.now(UTC) - ended_at >= UNHEARD_AFTER


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


def _with_log(snapshot: Snapshot, folder: SharedFolder) -> Snapshot:
    return replace(snapshot, progress=log.follow_progress(folder.log))


def _is_end_settled(
    plain: Snapshot, folder: SharedFolder, records: Records, status: JobStatus, error: str | None
) -> bool:
    """Whether `records` have all that the runner said: without an end, one is recorded here. False: read them anew."""
    code = 0 if status == JobStatus.COMPLETED else None
    is_stopped = status == JobStatus.CANCELLED
    return records.is_recorded or folder.record_missed_end(code, error, plain.completed_at, stopped=is_stopped)


def _ended(snapshot: Snapshot, folder: SharedFolder, status: JobStatus, error: str | None) -> Snapshot:
    """Return the last snapshot of a training, and see to it that its secrets have gone."""
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
    job: SlurmJob, folder: SharedFolder, records: Records, asked_at: datetime | None, plain: Snapshot
) -> tuple[JobStatus, str | None]:
    assert plain.status is not None
    run = records.run
    if job.state == "CANCELLED":
        if job.restarts and records.has_begun and not (asked_at or folder.is_cancel_requested()):
            return JobStatus.FAILED, RAN_AGAIN  # it was we who removed it, when Slurm had put it back
        return JobStatus.CANCELLED, None if asked_at or folder.is_cancel_requested() else CANCELLED_THERE
    # A trainer that saves its work when Slurm stops it may end with 0 as well.
    if run.exit_code == 0 and not run.stopped and job.state not in STOPPED_BY_SLURM:
        return JobStatus.COMPLETED, None
    if plain.status == JobStatus.CANCELLED or job.state not in ("COMPLETED", "FAILED"):
        return plain.status, plain.error_message
    if records.is_recorded:
        return _end_by_runner(folder, run, asked_at)
    if asked_at is not None and run.started_at is None:
        return JobStatus.CANCELLED, None
    if job.state == "COMPLETED":
        return JobStatus.COMPLETED, None  # the runner ends as its trainer did, but could not record it
    if run.started_at is None:
        return JobStatus.FAILED, _failed_start(job, folder)
    has_run_again = job.exit_code == HAS_TRAINED and not job.signal
    return JobStatus.FAILED, RAN_AGAIN if has_run_again else plain.error_message or LOST


def _end_by_runner(folder: SharedFolder, end: Run, asked_at: datetime | None) -> tuple[JobStatus, str | None]:
    # Slurm sends SIGTERM to all at once: the trainer may have ended before its runner could note that it was stopped.
    is_stopped = end.stopped or end.exit_code in (None, -signal.SIGTERM)
    is_asked = asked_at is not None or folder.is_cancel_requested()
    # 143 is a shell's or srun's word for it, but srun says so as well when one node's failure made it end the others.
    if is_asked and not end.error and (is_stopped or end.exit_code == 128 + signal.SIGTERM):
        return JobStatus.CANCELLED, None
    if end.error or is_stopped:
        return JobStatus.FAILED, end.error or STOPPED
    if end.exit_code == 0:
        return JobStatus.COMPLETED, None
    assert end.exit_code is not None
    message = log.final_lines(folder.log, SLURMS_LINES)
    return JobStatus.FAILED, exit_text(end.exit_code) + (f": {message}" if message else ".")


def _failed_start(job: SlurmJob, folder: SharedFolder) -> str:
    """Return why a job ended before its trainer was started, by the exit code of its script or of the runner."""
    node = job.first_node or "The node"
    last_line = folder.last_line()
    sentences = {
        NOT_SHARED: f"{node} can't read the job's folder in the shared folder. Mount the shared folder there under the "
        "same path.",
        NO_PYTHON: f"{node} has no Python. Set the provider's `python` to a Python 3.8 or newer on the nodes.",
        CANT_WRITE: f"The job's folder could not be written on {node}: it is full or read-only.",
        HAS_TRAINED: "Another Slurm job of this submission started before. It is not trained again.",
    }
    found = sentences.get(job.exit_code) if not job.signal else None
    return found or " ".join(filter(None, [_end_by_slurm(job, when=" before the trainer started"), last_line])) or LOST


def _end_by_slurm(job: SlurmJob, *, when: str = "") -> str | None:
    minutes = job.time_limit_minutes
    limit = f" of {minutes} minute{'' if minutes == 1 else 's'}" if minutes else ""
    node = f" on {job.nodes}" if job.nodes else ""
    sentences = {
        "TIMEOUT": f"Slurm ended the job at its time limit{limit} (TIMEOUT).",
        "NODE_FAIL": f"A node of the job failed{node} (NODE_FAIL).",
        "OUT_OF_MEMORY": f"The job needed more memory than it requested{node} (OUT_OF_MEMORY).",
        "BOOT_FAIL": f"The job's nodes could not be started{node} (BOOT_FAIL).",
        "DEADLINE": "Slurm ended the job at its deadline (DEADLINE).",
        "PREEMPTED": "Slurm stopped the job in favor of another one (PREEMPTED).",
        "REVOKED": "The job runs on another cluster of the federation (REVOKED).",
        "CANCELLED": None,
        "COMPLETED": None,
    }
    if job.state in sentences:
        return sentences[job.state]
    return f"The job failed{node}{when}: {_how(job)} ({job.state}{_reason(job)})."


def _how(job: SlurmJob) -> str:
    if job.signal:
        return f"it was killed by signal {job.signal} ({signal.strsignal(job.signal) or 'unknown'})"
    return f"it ended with exit code {job.exit_code}"


def _reason(job: SlurmJob) -> str:
    return f", {job.reason}" if job.reason not in ("", "None", "NonZeroExitCode") else ""


def waiting_reason(job: SlurmJob) -> str:
    """Return what the cluster waits for before it starts a job, as a sentence with Slurm's own word at the end."""
    # Slurm adds what it found to some of them: "ReqNodeNotAvail, UnavailableNodes:n3".
    word, reason = job.reason.partition(",")[0].strip(), job.reason[:120].rstrip(".")
    if job.state == "SUSPENDED":
        return "The job is paused at the cluster: Suspended."
    if word == "Resources":
        what = f"{job.gpus} GPU{'' if job.gpus == 1 else 's'}" if job.gpus else "free nodes"
        return f"The cluster waits for {what}: {reason}."
    if word in ("", "None"):
        return "The cluster has not considered the job yet."
    meaning = WAITS.get(word, AT_LIMIT if word.startswith(LIMITS) else "")
    why = f", as {meaning}" if meaning else ""
    return f"The cluster keeps the job waiting{why}: {reason}."


def _is_writing(folder: SharedFolder) -> bool:
    try:
        return datetime.now(UTC) - modified_at(folder.log) < STILL_WRITING
    except OSError:
        return False
