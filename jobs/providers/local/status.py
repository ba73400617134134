"""The state of a training on this machine, from its records and the running processes."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.providers.local import log
from jobs.providers.local.folder import End, JobFolder, Start
from jobs.statuses import JobStatus

RESTARTED = "This machine was restarted during the training."
UNKNOWN = "The training has ended, but left no record of how: its exit status is unknown."
VANISHED = "The training's folder was removed and its process has ended."
STOPPED = "The training was stopped from outside (SIGTERM), for example by a shutdown of the machine."


@dataclass(frozen=True, slots=True)
class State:
    """`status` is None when only another machine knows it. `start` is set once the training was started."""

    status: JobStatus | None
    start: Start | None = None
    end: End | None = None
    error: str | None = None


def read_state(folder: JobFolder, known: Start | None = None, asked_at: datetime | None = None) -> State:
    """Return the current state. A training that vanished without an exit record gets one here.

    `known` is the start that the job itself remembers, and `asked_at` when it was asked to be cancelled.
    """
    start = start_of(folder, known)
    if start is None:
        return State(JobStatus.QUEUED)
    # In this order: a runner writes the end before it exits, so that a dead one has written all that it could.
    is_alive = start.is_alive
    end = folder.end()
    # An exit record does not count as long as the training lives: the trainer itself may have written it.
    if is_alive:
        return State(JobStatus.RUNNING, start)
    if end is None and not start.is_here:
        return State(None, start)
    if end is None:
        reason = UNKNOWN if start.is_this_boot else RESTARTED
        end = folder.record_missed_end(reason, stopped=asked_at is not None)
    return _ended(folder, start, end, asked_at)


def start_of(folder: JobFolder, known: Start | None) -> Start | None:
    """Return the start of the training. What the job remembers goes first: its trainer may have changed the record."""
    return known if known and not known.is_damaged else folder.start() or known


def state_without_folder(start: Start, cancel_requested_at: datetime | None) -> State:
    """Return the state of a training of this machine whose folder is gone: only its processes can tell."""
    if start.is_alive:
        return State(JobStatus.RUNNING, start)
    if cancel_requested_at is not None:
        return State(JobStatus.CANCELLED, start)
    return State(JobStatus.FAILED, start, error=VANISHED)


def _ended(folder: JobFolder, start: Start, end: End, asked_at: datetime | None) -> State:
    # A SIGTERM from outside is no cancellation, also when one is asked for after it. An end that nobody saw, without an
    # exit code, counts as stopped only after a request.
    asked_before = asked_at is not None and (end.exit_code is None or asked_at <= end.ended_at)
    if end.stopped and (asked_before or folder.cancel_requested_at() is not None):
        return State(JobStatus.CANCELLED, start, end)
    if end.exit_code == 0 and not end.stopped and not end.error:
        return State(JobStatus.COMPLETED, start, end)
    return State(JobStatus.FAILED, start, end, error=_reason(folder, end))


def _reason(folder: JobFolder, end: End) -> str:
    if end.error:
        return end.error
    if end.stopped or end.exit_code is None:
        return STOPPED
    message = log.final_lines(folder.log)
    return exit_text(end.exit_code) + (f": {message}" if message else ".")


def exit_text(code: int) -> str:
    """Return how a trainer ended, without a full stop."""
    # A wrapper, as a shell or bubblewrap, tells of its own child's signal in this way.
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "The trainer was killed (SIGKILL), probably because the machine ran out of memory"
    if code >= 0:
        return f"The trainer ended with exit code {code}"
    return f"The trainer was killed by signal {-code} ({signal.strsignal(-code) or 'unknown'})"


def stop(start: Start, asked_at: datetime, grace: float) -> None:
    """Ask a training to end, in the way of a first request."""
    if start.is_alive and not start.runner.is_alive:
        start.trainer.signal_group(signal.SIGTERM)
    enforce_cancel(start, asked_at, grace)


def enforce_cancel(start: Start, asked_at: datetime | None, grace: float) -> None:
    """Enforce a cancellation that was requested at `asked_at`; do nothing without a request.

    The runner heeds only its first SIGTERM, so this may be called again and again: the process that should have sent it
    may have died. Without its runner a training's grace period is enforced here alone.
    """
    if asked_at is None or not start.is_alive:
        return
    if start.runner.is_alive:
        start.runner.signal(signal.SIGTERM)
    elif datetime.now(UTC) - asked_at > timedelta(seconds=grace):
        start.trainer.signal_group(signal.SIGKILL)
