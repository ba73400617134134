"""The content of one job's page."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from django.utils import timezone

from cloudtrain_site.api import as_utc
from cloudtrain_site.wording.values import duration
from jobs.costs.texts import cost_texts, expected_cost
from jobs.dashboard.rows import Row, make_rows
from jobs.extensions import panels_of
from jobs.failures.cause import NO_CAUSE, advice_for
from jobs.models import Job
from jobs.permissions import AnyUser, visible_jobs
from jobs.providers import deletes_logs, label_of
from jobs.runs.prefill import may_run_again
from jobs.statuses import JobStatus

#: Below this progress the pace is too uncertain.
MIN_PERCENT = 1.0
MAX_RETRIES = 5
#: The steps to which the time left is rounded.
ROUNDING_SECONDS = (600, 60, 10)
#: A job is past its estimate this long after its probable end. Its next report may be half a minute away.
LATE_SECONDS = 60
STOPPED = (JobStatus.FAILED, JobStatus.CANCELLED)


def head_of(job: Job, reader: AnyUser) -> dict[str, Any]:
    """Return the job's state, what blocks it, and the actions that the reader may take."""
    row = make_rows([job], reader)[0]
    runs_again = job.is_terminal and may_run_again(job, reader)
    return {
        "job": job,
        "row": row,
        "failure": failure_of(job),
        "time_left": _time_left_text(job),
        "cost": cost_texts(job),
        "blocks": panels_of(job, reader, on_top=True),
        "runs_again": runs_again,
        "likely_act": _likely_act(job, row, runs_again),
        "may_change": row.may_cancel or row.may_delete,
        "expects_log": expects_log(job),
        # Of what stopped without a step there are hardly any.
        "expects_curves": expects_log(job) and (job.step is not None or job.status not in STOPPED),
    }


def expects_log(job: Job) -> bool:
    """Whether there is room for its log from the beginning: it runs, or has run and its log isn't known to be empty."""
    is_complete = deletes_logs(job.provider) and job.is_terminal and job.log_due_at is None
    return job.started_at is not None and not (is_complete and not job.log_size)


def _likely_act(job: Job, row: Row, runs_again: bool) -> str:
    """Return the action that stands beside the menu; empty: the reader may take none of them."""
    if row.review_address:
        return "review"
    if row.may_retry:
        return "retry"
    if job.is_terminal:
        return "run-again" if runs_again else ""
    return "cancel" if row.may_cancel else ""


def details_of(job: Job, reader: AnyUser) -> dict[str, Any]:
    """Return what else there is to know of the job: ids, times, retries, and the panels that don't block it."""
    return {
        "provider": label_of(job.provider),
        "created": as_utc(job.created_at),
        "ended": as_utc(job.completed_at),
        "asked_at": as_utc(job.last_synced_at),
        "expected": expected_cost(job),
        "result_address": job.output_url if job.output_url.startswith(("https://", "http://")) else "",
        "earlier": visible_jobs(reader).filter(pk=job.retry_of_id).first() if job.retry_of_id else None,
        "later": retries_of(job, reader),
        "panels": panels_of(job, reader, on_top=False),
    }


def failure_of(job: Job) -> dict[str, Any] | None:
    """Return the cause of the job's failure, with advice and all that was said of it; None: it has not failed."""
    if job.status != JobStatus.FAILED:
        return None
    rest = job.error_message if job.error_message.strip() != job.cause else ""
    advice = advice_for(job.error_message)
    return {"line": job.cause, "shown_line": job.cause or NO_CAUSE, "advice": advice, "rest": rest}


def retries_of(job: Job, reader: AnyUser) -> list[Job]:
    """Return the latest jobs that run it again, among those that the reader may see."""
    return list(visible_jobs(reader).filter(retry_of=job).order_by("-id").only("pk", "attempt")[:MAX_RETRIES])


def seconds_left(job: Job, now: datetime) -> float | None:
    """Return how long the job runs on at its pace so far, negative past that estimate; None: unknown."""
    if job.status != JobStatus.RUNNING or job.cancel_requested_at or job.started_at is None:
        return None
    if job.progress is None or not MIN_PERCENT <= job.progress < 100:
        return None
    # Measured at the last report of its progress: the next one may be half a minute away.
    took = ((job.progress_told_at or now) - job.started_at).total_seconds()
    expected_seconds = took * 100 / job.progress
    return expected_seconds - (now - job.started_at).total_seconds() if took > 0 else None


def _time_left_text(job: Job) -> str:
    left = seconds_left(job, timezone.now())
    if left is None:
        return ""
    if left < -LATE_SECONDS:
        return "Past its estimate"
    if left < ROUNDING_SECONDS[-1]:
        return "Done in a moment"
    coarse = next(unit for unit in ROUNDING_SECONDS if left >= 4 * unit or unit == ROUNDING_SECONDS[-1])
    return f"About {duration(math.ceil(left / coarse) * coarse)} left"


def dataset_of(job: Job) -> dict[str, Any] | None:
    """Return the upload that it trains on; None: unknown here."""
    return None if job.dataset is None else {"upload": job.dataset, "is_gone": job.dataset.removed_at is not None}
