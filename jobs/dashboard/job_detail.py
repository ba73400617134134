"""The content of one job's page."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone

from cloudtrain_site.api import as_utc
from cloudtrain_site.redaction import mask_secrets
from jobs.dashboard.history import history_of
from jobs.dashboard.rows import OWN_HARDWARE, expected_cost, is_on_own_hardware, make_rows, money, unknown_cost
from jobs.extensions import panels_of
from jobs.failures.cause import advice_for
from jobs.models import Job
from jobs.notices.durations import duration
from jobs.permissions import AnyUser, visible_jobs
from jobs.runs.prefill import may_run_again
from jobs.statuses import JobStatus

#: Below this progress the pace is too uncertain.
MIN_PERCENT = 1.0
#: A page shows a config's beginning; the whole one is a download.
PREVIEW_CHARACTERS = 100_000
MAX_RETRIES = 5
#: The steps to which the time left is rounded.
ROUNDING_SECONDS = (600, 60, 10)


@dataclass(frozen=True, slots=True)
class Document:
    """A part of the job's submission as text, secrets masked."""

    label: str
    name: str
    address: str
    text: str
    is_cut: bool
    size: int


def head_of(job: Job, reader: AnyUser) -> dict[str, Any]:
    """Return the job's state and the actions that the reader may take."""
    row = make_rows([job], reader)[0]
    return {
        "job": job,
        "row": row,
        "failure": failure_of(job),
        "time_left": _time_left_text(job),
        "cost": cost_texts(job),
        "ended": as_utc(job.completed_at),
        "asked_at": as_utc(job.last_synced_at),
        "result_address": job.output_url if job.output_url.startswith(("https://", "http://")) else "",
        "earlier": visible_jobs(reader).filter(pk=job.retry_of_id).first() if job.retry_of_id else None,
        "later": retries_of(job, reader),
        "panels": panels_of(job, reader),
        "runs_again": job.is_terminal and may_run_again(job, reader),
    }


def failure_of(job: Job) -> dict[str, Any] | None:
    """Return the cause of the job's failure, with advice and all that was said of it; None: it has not failed."""
    if job.status != JobStatus.FAILED:
        return None
    rest = job.error_message if job.error_message.strip() != job.cause else ""
    return {"line": job.cause, "advice": advice_for(job.error_message), "rest": rest}


def retries_of(job: Job, reader: AnyUser) -> list[Job]:
    """Return the latest jobs that run it again, among those that the reader may see."""
    return list(visible_jobs(reader).filter(retry_of=job).order_by("-id").only("pk", "attempt")[:MAX_RETRIES])


def history_for_page(job: Job) -> dict[str, Any]:
    moments, has_older = history_of(job)
    return {"job": job, "moments": moments, "has_older": has_older}


def documents_of(job: Job) -> list[Document]:
    """Return the config and, if there is one, the dataloader config."""
    documents = [_document(job, "config", "Config", "job-config-file")]
    if job.dataloader_config:
        documents.append(_document(job, "dataloader_config", "Dataloader", "job-dataloader-file"))
    return documents


def masked_json(value: Any) -> str:
    return json.dumps(mask_secrets(value), indent=2, ensure_ascii=False)


def _document(job: Job, field: str, label: str, url_name: str) -> Document:
    text = masked_json(getattr(job, field))
    return Document(
        label=label,
        name=field,
        address=reverse(url_name, args=[job.pk]),
        text=text[:PREVIEW_CHARACTERS],
        is_cut=len(text) > PREVIEW_CHARACTERS,
        size=len(text.encode()),
    )


def seconds_left(job: Job, now: datetime) -> float | None:
    """Return how long the job runs on at its pace so far; None: unknown."""
    if job.status != JobStatus.RUNNING or job.cancel_requested_at or job.started_at is None:
        return None
    if job.progress is None or not MIN_PERCENT <= job.progress < 100:
        return None
    # Measured at the last report of its progress: the next one may be half a minute away.
    took = ((job.progress_told_at or now) - job.started_at).total_seconds()
    expected_seconds = took * 100 / job.progress
    return max(0.0, expected_seconds - (now - job.started_at).total_seconds()) if took > 0 else None


def _time_left_text(job: Job) -> str:
    left = seconds_left(job, timezone.now())
    if left is None:
        return ""
    if left < ROUNDING_SECONDS[-1]:
        return "Done in a moment"
    coarse = next(unit for unit in ROUNDING_SECONDS if left >= 4 * unit or unit == ROUNDING_SECONDS[-1])
    return f"About {duration(math.ceil(left / coarse) * coarse)} left"


def cost_texts(job: Job) -> tuple[str, str]:
    """Return its cost, or that it is not known, and the expected cost; each empty if there is none."""
    expected = expected_cost(job)
    beside = f"about {expected} expected" if expected else ""
    if job.cost_doubt is not None:
        return unknown_cost(job), beside
    if job.cost_usd > 0:
        return money(job.cost_usd) + ("" if job.is_terminal else " so far"), beside
    if is_on_own_hardware(job):
        return "Nothing", OWN_HARDWARE
    if job.is_terminal:
        return "Nothing", beside
    return "", beside


def dataset_of(job: Job) -> dict[str, Any] | None:
    """Return the upload that it trains on; None: unknown here."""
    return None if job.dataset is None else {"upload": job.dataset, "is_gone": job.dataset.removed_at is not None}
