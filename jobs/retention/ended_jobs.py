"""The removal of old jobs and all that belongs to them, except what proves their costs.

A job's row stays, empty and deleted: the entries of the ledger point to it, its number is not given again, and a
training that its provider still lists is not discovered as a new one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db.models import CASCADE, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.maintenance import remove_files
from jobs.models import Job, JobAccount, JobEvent, OutputFetch, StoredOutput, WebhookDelivery
from jobs.outputs.measuring import measure
from jobs.statuses import TERMINAL

#: With their histories some hundred rows: a transaction of a few milliseconds.
BATCH = 20
#: These rows say that a training's results were measured and fetched. Without them both would begin anew.
STAYS: tuple[type[Any], ...] = (StoredOutput, OutputFetch)
EMPTY: dict[str, Any] = {
    **{name: {} for name in ("config", "metadata")},
    **dict.fromkeys(("sealed", "webhook_url", "tracker_run_name", "error_message", "output_url", "sync_error"), ""),
    **dict.fromkeys(("note", "error_line", "stage", "last_log", "provider_waiting_reason", "estimate_source")),
    **dict.fromkeys(("log_due_at", "training_kind", "seconds_per_step")),
    "dataloader_config": [],
    "cancel_requested_by": "",
    "log_size": 0,
    "log_removed_at": Coalesce(F("log_removed_at"), Now()),  # retention/logs.py need not look for it in each run
}


def remove_old(before: datetime, until: float) -> int:
    """Remove jobs that ended before that, see `extensions.Kept`. Returns how many.

    One whose results are still here stays until they are gone: they are announced, may be pinned, and take no longer
    than jobs are kept. So does one whose cost is not settled.
    """
    removed, failing = 0, set[str]()
    # Jobs in lists come first: a deleted job whose files can never be removed must not keep them waiting.
    for is_deleted in (False, True):
        due, last = _due(before).filter(deleted_at__isnull=not is_deleted), ""
        while time.monotonic() < until and (ids := list(due.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH])):
            last = ids[-1]
            removed += _remove(ids, failing)
    return removed


def _due(before: datetime) -> QuerySet[Job]:
    of_job = {"job": OuterRef("pk")}
    # The history goes in the transaction that empties the row: a job without one is done.
    has_history = Exists(JobEvent.objects.filter(**of_job))
    has_results = Exists(StoredOutput.objects.filter(**of_job, size__gt=0))
    gets_results = Exists(OutputFetch.objects.filter(**of_job, status=OutputFetch.Status.PENDING))
    costs_on = Exists(JobAccount.objects.filter(Q(settled_at=None) | Q(held__gt=0), **of_job))
    due = Job.objects.filter(has_history, status__in=TERMINAL, completed_at__lt=before)
    return due.exclude(has_results).exclude(gets_results).exclude(costs_on).order_by("pk")


def _remove(ids: Sequence[str], failing: set[str]) -> int:
    """Remove these jobs: first from every list, then their files, then their rows. The next run continues a killed one.

    `failing` collects the providers that can't remove files now; their jobs wait for another run.
    """
    jobs = Job.objects.filter(pk__in=ids).exclude(provider__in=failing).select_related("dataset")
    jobs = jobs.defer("config", "dataloader_config").order_by("pk")
    cleared = []
    for job in jobs:
        if job.provider in failing or (measure(job) and _has_results(job)):
            continue
        _take_from_lists(job)
        if remove_files(job):
            cleared.append(job.pk)
        else:
            failing.add(job.provider)
    if not cleared:
        return 0
    with unit_of_work():
        return _empty(cleared)


def _take_from_lists(job: Job) -> None:
    if job.deleted_at is None:
        job.deleted_at = timezone.now()
        Job.objects.filter(pk=job.pk, deleted_at=None).update(deleted_at=job.deleted_at)


def _has_results(job: Job) -> bool:
    return StoredOutput.objects.filter(pk=job.pk, size__gt=0).exists()


def _empty(ids: Collection[str]) -> int:
    """Delete what would go with these jobs' rows, whichever room it is of, and empty the rows."""
    for relation in Job._meta.related_objects:
        model: Any = relation.related_model
        if relation.on_delete is CASCADE and model not in STAYS:
            model._default_manager.filter(**{f"{relation.field.name}__in": ids}).delete()
    WebhookDelivery.objects.filter(job__in=ids).delete()
    return Job.objects.filter(pk__in=ids, status__in=TERMINAL).update(**EMPTY)
