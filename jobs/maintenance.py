"""What is removed of a job that was deleted: its files, its captured log, an archive that nobody else has.

What the training made is never removed here: it cost money, and whoever deletes a job may not know that they want it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.database.sqlite_analyze import refresh_when_grown
from cloudtrain_site.states import Source
from jobs.datasets import store
from jobs.models import Job, ProviderConfig
from jobs.providers import get_provider
from jobs.providers.base import Handle, ProviderError
from jobs.providers.local.folder import JOB_ID, JobFolder
from jobs.statuses import AT_PROVIDER
from jobs.sync import circuit_breaker, refresh
from jobs.webhooks import apply, inbox

logger = logging.getLogger("simpletuner.cloud.jobs")

#: How often a machine looks for what a crash left: it asks about every folder that it has.
SWEEP_PAUSE_SECONDS = 3600.0
#: A deletion's own task has this long.
TASK_GRACE = timedelta(minutes=5)
ROWS_PER_QUERY = 500
SWEPT_MARK = ".cleared"


def remove_files(job: Job) -> bool:
    """Remove the files of a deleted job. False: they can't be removed now, and the sweep tries again."""
    if job.deleted_at is None or not job.is_terminal:
        return False
    store.remove_dataset_of(job)
    try:
        # The provider looks for itself whether the training has ended: it knows better than our row.
        asyncio.run(get_provider(job.provider).delete_files(Handle(job.pk, job.external_id or job.pk)))
    except (ProviderError, KeyError) as error:
        logger.warning("The files of a deleted job could not be removed: %s", error, extra={"job_id": job.pk})
        return False
    return True


def sweep() -> int:
    """Remove what a crash left of deleted jobs on this machine, once an hour. Returns how many could be.

    A folder of which the database knows nothing is left alone: after a restored backup it may be all there is.
    """
    jobs = Path(settings.DATA_DIR) / "jobs"
    return sum(map(remove_files, _deleted(jobs))) if _is_due(jobs) else 0


def _is_due(jobs: Path) -> bool:
    mark = jobs / SWEPT_MARK
    with suppress(OSError):
        if jobs.is_dir() and not (mark.exists() and mark.stat().st_mtime > time.time() - SWEEP_PAUSE_SECONDS):
            mark.touch()
            return True
    return False


def _deleted(jobs: Path) -> Iterator[Job]:
    """The deleted jobs that have a folder here with more in it than what they made."""
    names = [path.name for path in jobs.iterdir() if JOB_ID.fullmatch(path.name)]
    before = timezone.now() - TASK_GRACE
    for first in range(0, len(names), ROWS_PER_QUERY):
        batch = names[first : first + ROWS_PER_QUERY]
        rows = Job.objects.filter(pk__in=batch, provider="local", deleted_at__lt=before).select_related("dataset")
        for job in rows.defer("config", "dataloader_config"):
            if not JobFolder(jobs, job.pk).is_cleared():
                yield job


def run() -> dict[str, int]:
    """One round: silent jobs, cancellations that are not confirmed, logs that are due, deliveries left over."""
    return {
        "refreshed": check_silent(),
        "cancels": retry_cancels(),
        "logs": refresh.capture_logs(source=Source.LOOP),
        "deliveries": apply.apply_leftovers(),
        "trimmed": inbox.trim(),
        "datasets": store.sweep(),
        "cleared": sweep(),
        "counted": refresh_when_grown(),
    }


def silent_jobs(config: ProviderConfig) -> Sequence[Job]:
    """The jobs of a provider with a webhook address that were not heard of for as long as its settings bear."""
    quiet_since = timezone.now() - timedelta(minutes=config.silence_minutes)
    silent = Q(last_synced_at__lt=quiet_since) | Q(last_synced_at=None, queued_at__lt=quiet_since)
    jobs = Job.objects.filter(silent, provider=config.pk, status__in=AT_PROVIDER).exclude(external_id=None)
    return list(jobs.defer("config", "dataloader_config").order_by("id"))


def check_silent() -> int:
    """Ask about silent jobs all the same. When that moves one, webhooks don't arrive as they should."""
    refreshed = 0
    watched = ProviderConfig.objects.filter(enabled=True, silence_minutes__gt=0).exclude(webhook_url="")
    for config in watched:
        silent = silent_jobs(config)
        # What was made elsewhere has no webhook of ours: its news say nothing about them.
        outcome = refresh.refresh([job for job in silent if job.submission_marker], source=Source.LOOP)
        others = refresh.refresh([job for job in silent if not job.submission_marker], source=Source.LOOP)
        refreshed += outcome.refreshed + others.refreshed
        if outcome.moved:
            _record_missed(config, outcome.moved)
    return refreshed


def _record_missed(config: ProviderConfig, moved: int) -> None:
    is_first = ProviderConfig.objects.filter(pk=config.pk, webhooks_missed_at=None).update(
        webhooks_missed_at=timezone.now()
    )
    logger.log(
        logging.WARNING if is_first else logging.DEBUG,
        "Webhooks are not arriving: jobs changed and no delivery told of it",
        extra={"provider": config.pk, "jobs": moved, "webhook_url": config.webhook_url},
    )


def retry_cancels() -> int:
    """Ask once more for the cancellations that no provider has confirmed, and read what came of it."""
    waiting = list(
        Job.objects.filter(status__in=AT_PROVIDER, cancel_requested_at__isnull=False)
        .exclude(external_id=None)
        .defer("config", "dataloader_config")
        .order_by("?")  # should there be more than one round manages, none is always the last
    )
    open_circuits = {row.pk for row in ProviderConfig.objects.all() if circuit_breaker.is_open(row, timezone.now())}
    requested = refresh.cancel_at_providers([job for job in waiting if job.provider not in open_circuits])
    refresh.refresh(requested, source=Source.LOOP)
    return len(requested)
