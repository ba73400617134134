"""The maintenance loop, and the removal of a deleted job's files, log and dataset.

A training's output is never removed here: it cost money, and the user who deletes a job may not know that they want it.
outputs/retention.py removes it when its time is over.
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
from jobs.costs.cost_sums import sum_up_costs
from jobs.costs.day_figures import sum_up_days
from jobs.costs.ledger import count_forgotten
from jobs.costs.prices import note_prices
from jobs.curves import kept
from jobs.datasets import store
from jobs.models import Job, KeptCurves, ProviderConfig
from jobs.outputs import fetching
from jobs.outputs.thumbnails import remove_thumbnails
from jobs.providers import get_provider, names
from jobs.providers.base import Handle, ProviderError
from jobs.providers.local.folder import JOB_ID, JobFolder
from jobs.providers.runner.records import CLAIM, CLAIMS
from jobs.sync import circuit_breaker, refresh
from jobs.webhooks import apply

logger = logging.getLogger("simpletuner.cloud.jobs")

#: A machine queries every folder that it has, so it does that rarely.
SWEEP_PAUSE_SECONDS = 3600.0
#: The time that a deletion's own task has before the sweep takes over.
TASK_GRACE = timedelta(minutes=5)
ROWS_PER_QUERY = 500
#: Of one round. A large site's first year takes a few.
SUMMING_SECONDS = 5.0
SWEPT_MARK = ".cleared"


def remove_files(job: Job) -> bool:
    """Remove the files of a deleted job. False: they can't be removed now, and the sweep tries again."""
    if job.deleted_at is None or not job.is_terminal:
        return False
    store.remove_dataset_of(job)
    remove_thumbnails(job)
    KeptCurves.objects.filter(job=job).delete()
    try:
        # The provider checks whether the training has ended: it knows better than our row.
        asyncio.run(get_provider(job.provider).delete_files(Handle(job.pk, job.external_id or job.pk)))
    except ProviderError as error:
        logger.warning("The files of a deleted job could not be removed: %s", error, extra={"job_id": job.pk})
        return False
    return True


def sweep() -> int:
    """Remove what a crash left of deleted jobs on this machine, once an hour. Returns how many jobs' files went.

    A folder that the database doesn't know is left alone: after a restored backup it may be all there is.
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
    """Yield the deleted jobs that have more than their output here."""
    paths = [*jobs.iterdir(), *(jobs / CLAIMS).glob("*")]  # of one whose folder vanished, the claim is left
    names = sorted({path.name for path in paths if JOB_ID.fullmatch(path.name)})
    before = timezone.now() - TASK_GRACE
    for first in range(0, len(names), ROWS_PER_QUERY):
        batch = names[first : first + ROWS_PER_QUERY]
        rows = Job.objects.filter(pk__in=batch, provider="local", deleted_at__lt=before).select_related("dataset")
        for job in rows.defer("config", "dataloader_config"):
            if not JobFolder(jobs, job.pk).is_cleared():
                yield job


def run() -> dict[str, int]:
    """Run one round: silent jobs, unconfirmed cancellations, due logs, deliveries left over. Returns the counts."""
    return {
        "prices": note_prices(ProviderConfig.of_all(names()).values()),
        "refreshed": check_silent() + check_vanished(),
        "cancels": retry_cancels(),
        "logs": refresh.capture_logs(source=Source.LOOP),
        "deliveries": apply.apply_leftovers(),
        "datasets": store.sweep(),
        "settled": count_forgotten(),
        "results": fetching.request_forgotten(),
        "curves": kept.request_forgotten(),
        "cleared": sweep(),
        "days": sum_up_days(time.monotonic() + SUMMING_SECONDS),
        "costs": sum_up_costs(time.monotonic() + SUMMING_SECONDS),
        "counted": refresh_when_grown(),
    }


def check_vanished() -> int:
    """Ask about trainings of this machine without a start record: the watcher sees no end of them."""
    jobs = Path(settings.DATA_DIR) / "jobs"
    vanished = [job for job in refresh.active_jobs("local") if not (jobs / job.pk / CLAIM).exists()]
    return refresh.refresh(vanished, source=Source.LOOP).refreshed


def silent_jobs(config: ProviderConfig) -> Sequence[Job]:
    """Return the jobs of a provider with a webhook that have been silent for longer than its settings allow."""
    quiet_since = timezone.now() - timedelta(minutes=config.silence_minutes)
    silent = Q(last_synced_at__lt=quiet_since) | Q(last_synced_at=None, queued_at__lt=quiet_since)
    jobs = Job.objects.at_provider().filter(silent, provider=config.pk).exclude(external_id=None)
    return list(jobs.defer("config", "dataloader_config").order_by("id"))


def check_silent() -> int:
    """Ask about silent jobs. A job that moves shows that webhooks don't arrive as they should."""
    refreshed = 0
    watched = ProviderConfig.objects.filter(enabled=True, silence_minutes__gt=0).exclude(webhook_url="")
    for config in watched:
        silent = silent_jobs(config)
        # A training made elsewhere has no webhook of ours: a change of it proves nothing about webhooks.
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
    """Ask once more for the cancellations that no provider has confirmed, and refresh those jobs."""
    waiting = list(
        Job.objects.at_provider()
        .filter(cancel_requested_at__isnull=False)
        .exclude(external_id=None)
        .defer("config", "dataloader_config")
        .order_by("?")  # if there are more than one round manages, none is always the last
    )
    open_circuits = {row.pk for row in ProviderConfig.objects.all() if circuit_breaker.is_open(row, timezone.now())}
    requested = refresh.cancel_at_providers([job for job in waiting if job.provider not in open_circuits])
    refresh.refresh(requested, source=Source.LOOP)
    return len(requested)
