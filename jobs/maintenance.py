"""What is removed of a job that was deleted: its files, its captured log, an archive that nobody else has.

What the training made is never removed here: it cost money, and whoever deletes a job may not know that they want it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from jobs.datasets import store
from jobs.models import Job
from jobs.providers import get_provider
from jobs.providers.base import Handle, ProviderError
from jobs.providers.local.folder import JOB_ID, JobFolder

logger = logging.getLogger("simpletuner.cloud.jobs")

#: How often a machine looks for what a crash left: it asks about every folder that it has.
SWEEP_PAUSE_SECONDS = 3600.0
#: A deletion's own task has this long.
GRACE = timedelta(minutes=5)
ASKED_AT_ONCE = 500
MARK = ".cleared"


def clear_away(job: Job) -> bool:
    """Remove the files of a deleted job. False: they can't be removed now, and the sweep tries again."""
    if job.deleted_at is None or not job.is_terminal:
        return False
    store.remove_with(job)
    try:
        # The provider looks for itself whether the training has ended: it knows better than our row.
        asyncio.run(get_provider(job.provider).forget(Handle(job.pk, job.external_id or job.pk)))
    except (ProviderError, KeyError) as error:
        logger.warning("The files of a deleted job could not be removed: %s", error, extra={"job_id": job.pk})
        return False
    return True


def sweep() -> int:
    """Remove what a crash left of deleted jobs on this machine, once an hour. Returns how many could be.

    A folder of which the database knows nothing is left alone: after a restored backup it may be all there is.
    """
    jobs = Path(settings.DATA_DIR) / "jobs"
    return sum(map(clear_away, _deleted(jobs))) if _is_due(jobs) else 0


def _is_due(jobs: Path) -> bool:
    mark = jobs / MARK
    with suppress(OSError):
        if jobs.is_dir() and not (mark.exists() and mark.stat().st_mtime > time.time() - SWEEP_PAUSE_SECONDS):
            mark.touch()
            return True
    return False


def _deleted(jobs: Path) -> Iterator[Job]:
    """The deleted jobs that have a folder here with more in it than what they made."""
    names = [path.name for path in jobs.iterdir() if JOB_ID.fullmatch(path.name)]
    before = timezone.now() - GRACE
    for first in range(0, len(names), ASKED_AT_ONCE):
        batch = names[first : first + ASKED_AT_ONCE]
        rows = Job.objects.filter(pk__in=batch, provider="local", deleted_at__lt=before).select_related("dataset")
        for job in rows.defer("config", "dataloader_config"):
            if not JobFolder(jobs, job.pk).is_cleared():
                yield job
