"""The removal of old logs: our copies, and the files of trainings on this machine and on clusters."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone

from cloudtrain_site.database.batches import delete_in_batches
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.models import Job, KeptCurves, LogPiece
from jobs.providers import get_provider, names
from jobs.providers.base import Handle, KeepsLogFiles, ProviderError
from jobs.statuses import TERMINAL

logger = logging.getLogger("simpletuner.cloud.jobs")

BATCH = 100


def remove_old(before: datetime, until: float) -> int:
    """Remove the logs of jobs that ended before that, see `extensions.Kept`. Returns of how many jobs."""
    ended = Job.objects.filter(status__in=TERMINAL, completed_at__lt=before)
    copies = ended.filter(log_size__gt=0, log_due_at=None).order_by("completed_at")
    return delete_in_batches(copies, until=until, delete=_delete_copies) + sum(
        _remove_files(name, provider, before, until)
        for name in names()
        if isinstance(provider := get_provider(name), KeepsLogFiles)
    )


def _delete_copies(job_ids: Sequence[str]) -> int:
    """Delete them. Without its size, a log counts as complete though nothing of it is left."""
    LogPiece.objects.filter(job__in=job_ids).delete()
    KeptCurves.objects.filter(job__in=job_ids).delete()
    return Job.objects.filter(pk__in=job_ids).update(log_size=0)


def _remove_files(name: str, provider: KeepsLogFiles, before: datetime, until: float) -> int:
    """Remove the log files of a provider's jobs. One on another machine is left to that."""
    jobs = Job.objects.filter(status__in=TERMINAL, completed_at__lt=before, provider=name, log_removed_at=None)
    jobs = jobs.exclude(external_id=None).order_by("pk").only("pk", "external_id")
    removed, last = 0, ""
    while time.monotonic() < until and (batch := list(jobs.filter(pk__gt=last)[:BATCH])):
        last = batch[-1].pk
        gone: list[str] = []
        errors: list[ProviderError] = []
        for job in batch:
            try:
                if provider.remove_log(Handle(job.pk, job.external_id or "")):
                    gone.append(job.pk)
            except ProviderError as error:  # one log that can't ever be removed must not keep the others
                errors.append(error)
        if errors:
            extra = {"provider": name, "jobs": len(errors)}
            logger.warning("Old logs can't be removed: %s", errors[-1], extra=extra)
        if len(errors) == len(batch):  # the provider is away
            break
        # After the files: what a crash leaves between the two is done once more.
        with unit_of_work():
            KeptCurves.objects.filter(job__in=gone).delete()
            removed += Job.objects.filter(pk__in=gone).update(log_removed_at=timezone.now())
    return removed
