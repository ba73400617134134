"""What the page of one job says about it."""

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
from jobs.dashboard.rows import duration, make_rows, money
from jobs.extensions import panels_of
from jobs.models import Job
from jobs.permissions import AnyUser, visible_jobs
from jobs.statuses import JobStatus

#: Before that, the pace says next to nothing.
FIRST_PERCENT = 1.0
#: A page shows so much of a config; the whole one is a download.
PREVIEW_CHARACTERS = 100_000
MOST_RETRIES = 5
#: What the time left is rounded to, in seconds.
COARSE = (600, 60, 10)


@dataclass(frozen=True, slots=True)
class Document:
    """A part of what the job was submitted with, as text, secrets masked."""

    label: str
    name: str
    address: str
    text: str
    is_cut: bool
    size: int


def head_of(job: Job, reader: AnyUser) -> dict[str, Any]:
    """The state of the job, and what may be done about it."""
    row = make_rows([job], reader)[0]
    return {
        "job": job,
        "row": row,
        "time_left": _time_left_in_words(job),
        "cost": cost_in_words(job),
        "ended": as_utc(job.completed_at),
        "asked_at": as_utc(job.last_synced_at),
        "result_address": job.output_url if job.output_url.startswith(("https://", "http://")) else "",
        "earlier": visible_jobs(reader).filter(pk=job.retry_of_id).first() if job.retry_of_id else None,
        "later": retries_of(job, reader),
        "panels": panels_of(job, reader),
    }


def retries_of(job: Job, reader: AnyUser) -> list[Job]:
    """The latest of the jobs that run it again, as far as the reader may see them."""
    return list(visible_jobs(reader).filter(retry_of=job).order_by("-id").only("pk", "attempt")[:MOST_RETRIES])


def history_for_page(job: Job) -> dict[str, Any]:
    """The timeline."""
    moments, has_older = history_of(job)
    return {"job": job, "moments": moments, "has_older": has_older}


def documents_of(job: Job) -> list[Document]:
    """Config and dataloader, as far as there are any."""
    found = [_document(job, "config", "Config", "job-config-file")]
    if job.dataloader_config:
        found.append(_document(job, "dataloader_config", "Dataloader", "job-dataloader-file"))
    return found


def masked_json(value: Any) -> str:
    """`value` as people read JSON, without its secrets."""
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
    """How long the job goes on if it keeps the pace it had so far; None when that can't be said."""
    if job.status != JobStatus.RUNNING or job.cancel_requested_at or job.started_at is None:
        return None
    if job.progress is None or not FIRST_PERCENT <= job.progress < 100:
        return None
    # By the clock of the last word about it: the next one may be half a minute away.
    took = ((job.progress_told_at or now) - job.started_at).total_seconds()
    whole = took * 100 / job.progress
    return max(0.0, whole - (now - job.started_at).total_seconds()) if took > 0 else None


def _time_left_in_words(job: Job) -> str:
    left = seconds_left(job, timezone.now())
    if left is None:
        return ""
    if left < COARSE[-1]:
        return "Done in a moment"
    # No more exact than an estimate can be.
    coarse = next(unit for unit in COARSE if left >= 4 * unit or unit == COARSE[-1])
    return f"About {duration(math.ceil(left / coarse) * coarse)} left"


def cost_in_words(job: Job) -> tuple[str, str]:
    """What it cost, and beside that what was expected; each empty when it isn't known."""
    expected = job.estimated_cost_usd
    beside = f"about {money(expected)} expected" if expected else ""
    if job.cost_usd > 0:
        return money(job.cost_usd) + ("" if job.is_terminal else " so far"), beside
    if expected == 0 or (job.is_terminal and job.started_at is None):
        return "Nothing", beside
    return "", beside


def dataset_of(job: Job) -> dict[str, Any] | None:
    """The upload that it trains on, while that is known here."""
    return None if job.dataset is None else {"upload": job.dataset, "is_gone": job.dataset.removed_at is not None}
