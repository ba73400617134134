"""Conversion between Ray's job rows and our values. No request is made here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudtrain_site.conf.providers import RayInstance
from jobs.providers.base import Handle, Snapshot
from jobs.providers.clusters.training_folder import Run
from jobs.providers.local.status import exit_text
from jobs.providers.ray.nodes import asked_for
from jobs.statuses import JobStatus

STATUSES: Mapping[str, JobStatus] = {
    "PENDING": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "SUCCEEDED": JobStatus.COMPLETED,
    "FAILED": JobStatus.FAILED,
    "STOPPED": JobStatus.CANCELLED,
}
#: Of these alone Ray knows that the trainer itself ended.
OWN_ENDS = frozenset({"JOB_ENTRYPOINT_COMMAND_ERROR", "JOB_ENTRYPOINT_COMMAND_START_ERROR"})
#: Before these nothing was started.
NEVER_BEGAN = frozenset(
    {
        "RUNTIME_ENV_SETUP_FAILURE",
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
    }
)
#: Beyond the runner's own grace: it looks at its supervisor every second, and its record takes a while to be seen.
RUNNER_SECONDS = 15
NO_PROGRAM = 127
MAX_REASON_CHARACTERS = 300


def is_job(row: Any) -> bool:
    """Whether a row is a submitted job: people's own `ray.init()` have rows without a submission id."""
    return isinstance(row, dict) and isinstance(row.get("submission_id"), str) and 0 < len(row["submission_id"]) <= 128


def is_engines_end(row: Mapping[str, Any]) -> bool:
    """Whether the job ended by something that befell the cluster, and not by its trainer or a stop."""
    return row.get("status") == "FAILED" and row.get("error_type") not in OWN_ENDS


def marker_of(row: Mapping[str, Any]) -> str | None:
    metadata = row.get("metadata")
    marker = metadata.get("marker") if isinstance(metadata, Mapping) else None
    return marker if isinstance(marker, str) and marker else None


def profile_of(row: Mapping[str, Any]) -> str | None:
    metadata = row.get("metadata")
    profile = metadata.get("profile") if isinstance(metadata, Mapping) else None
    return profile if isinstance(profile, str) else None


def status_of(row: Mapping[str, Any]) -> JobStatus | None:
    return STATUSES.get(str(row.get("status")))


def moment(milliseconds: Any) -> datetime | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not milliseconds:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def may_still_run(row: Mapping[str, Any], run: Run, grace_seconds: int, now: datetime) -> bool:
    """Whether a job that Ray calls FAILED may train on: Ray lost its supervisor, which the runner has yet to notice."""
    if not is_engines_end(row) or row.get("error_type") in NEVER_BEGAN or run.ended_at:
        return False
    ended_at = moment(row.get("end_time")) or now
    return now < ended_at + timedelta(seconds=grace_seconds + RUNNER_SECONDS)


def active_snapshot(instance: RayInstance, row: Mapping[str, Any], handle: Handle | None, run: Run) -> Snapshot:
    """Return a job that waits or runs."""
    status = status_of(row)
    return Snapshot(
        external_id=row["submission_id"],
        status=status,
        started_at=run.started_at,
        hardware=profile_of(row),
        waiting_reason=_waiting_reason(instance, row, handle) if status == JobStatus.QUEUED else None,
    )


def _waiting_reason(instance: RayInstance, row: Mapping[str, Any], handle: Handle | None) -> str:
    if handle and handle.cancel_requested_at:
        return "The cluster was asked to cancel the job. It does so once it has room for the job."
    profile = instance.hardware.get(profile_of(row) or "")
    return f"The cluster waits for {asked_for(profile)}." if profile else "The cluster waits for resources."


def ended_snapshot(
    row: Mapping[str, Any], run: Run, last_lines: str, instance: RayInstance, *, never_began: bool = False
) -> Snapshot:
    """Return an ended job. The runner's record says how its trainer ended; Ray's word counts where there is none.

    `never_began`: its whole log has no sign of the runner.
    """
    status = _ended_status(row, run)
    reason = _reason(row, run, last_lines, instance, never_began=never_began) if status == JobStatus.FAILED else None
    return Snapshot(
        external_id=row["submission_id"],
        status=status,
        started_at=run.started_at,
        completed_at=run.ended_at or moment(row.get("end_time")),
        error_message=reason,
        billed_seconds=run.seconds if run.ended_at else 0.0 if never_began else _never_ran(row),
        hardware=profile_of(row),
    )


def _ended_status(row: Mapping[str, Any], run: Run) -> JobStatus:
    has_completed = run.ended_at is not None and run.exit_code == 0 and not run.stopped and not run.error
    if has_completed:
        return JobStatus.COMPLETED
    status = status_of(row) or JobStatus.FAILED
    # A trainer that saves on SIGTERM and exits with 0 was stopped all the same.
    return JobStatus.FAILED if status == JobStatus.COMPLETED and (run.stopped or run.error) else status


def _never_ran(row: Mapping[str, Any]) -> float | None:
    """Return 0 for a job that was never given to a node; None when it is not known how long it ran."""
    return 0.0 if not row.get("driver_node_id") or row.get("error_type") in NEVER_BEGAN else None


def _reason(row: Mapping[str, Any], run: Run, last_lines: str, instance: RayInstance, *, never_began: bool) -> str:
    if run.error:
        return run.error
    if row.get("error_type") not in (*OWN_ENDS, None):
        return _engine_reason(row)
    if run.ended_at and run.stopped:
        return "The training was stopped from outside (SIGTERM), for example by a shutdown of its node."
    code = run.exit_code if run.ended_at else row.get("driver_exit_code")
    if not run.ended_at and code == NO_PROGRAM:
        return f"The node has no “{instance.python}”. Set this provider's `python` to a Python of its nodes."
    if never_began and isinstance(code, int):
        text = f"The job ended with exit code {code} before the trainer started"
    else:
        text = exit_text(code) if isinstance(code, int) else "The trainer ended with an unknown exit code"
    return f"{text}: {last_lines}" if last_lines else f"{text}."


def _engine_reason(row: Mapping[str, Any]) -> str:
    kind = str(row.get("error_type"))
    message = _last_line(row.get("message"))
    if kind == "RUNTIME_ENV_SETUP_FAILURE":
        text = "The cluster could not bring the job's files to a node"
    elif kind == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT":
        # For the whole cluster: a job's own environment does not change it (measured).
        return (
            f"The cluster had no room for the job in time ({kind}). "
            "Start Ray with a larger RAY_JOB_START_TIMEOUT_SECONDS (default: 900)."
        )
    elif kind in NEVER_BEGAN:
        text = "The cluster did not start the job"
    else:
        text = "The cluster lost the training: its node died, or Ray was restarted"
    return f"{text} ({kind}). {message}".strip()


def _last_line(text: Any) -> str:
    """Return the last line of a message that may hold a traceback and the log."""
    lines = [line.strip() for line in str(text or "")[-20_000:].splitlines() if line.strip()]
    return lines[-1][:MAX_REASON_CHARACTERS] if lines else ""
