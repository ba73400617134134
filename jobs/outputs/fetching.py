"""Copies what a training made from a provider that deletes it an hour later.

This module keeps the rows and the order; `download` copies.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.enterprise import config_in_force
from jobs.models import Job, OutputFetch, StoredOutput
from jobs.outputs.errors import FetchError
from jobs.outputs.store import fetched_root
from jobs.providers import names_deleting_outputs
from jobs.statuses import JobStatus

logger = logging.getLogger("simpletuner.cloud.jobs")

TASK = "jobs.tasks.fetch_outputs"
#: Longer than a task may take: its worker is dead then.
LEASE = timedelta(seconds=90)
#: A provider keeps results for an hour; an outage of ours may end within it.
RETRY_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 20, 60, 180, 300, 600, 900, 1200))
#: The upkeep looks for trainings that ended this lately: their results may still be there.
LATELY = timedelta(hours=2)


def sources_of(job: Job) -> list[str]:
    """Return what the training made, as its provider tells it: addresses, or a text."""
    more = job.metadata.get("more_outputs")
    found = [job.output_url, *(more if isinstance(more, list) else ())]
    return [source for source in found if isinstance(source, str) and source]


def request_fetch(job: Job) -> bool:
    """Have the results of a training copied that has just ended. False: there are none, or they were asked for."""
    if not config_in_force().outputs.fetch or job.status != JobStatus.COMPLETED or not sources_of(job):
        return False
    if job.provider not in names_deleting_outputs():
        return False
    _, is_new = OutputFetch.objects.get_or_create(job=job, defaults={"sources": sources_of(job)})
    if is_new:
        transaction.on_commit(lambda: async_task(TASK, job.pk), robust=True)
    return is_new


def request_forgotten() -> int:
    """Do for trainings that ended lately what a crash kept from being done, and enqueue what is due. Returns how many.

    A task is never the only memory of a fetch.
    """
    lately = Job.objects.kept().ended_since(timezone.now() - LATELY)
    lately = lately.filter(provider__in=names_deleting_outputs(), status=JobStatus.COMPLETED)
    forgotten = lately.filter(output_fetch=None).exclude(output_url="").defer("config", "dataloader_config")
    requested = sum(request_fetch(job) for job in forgotten)
    for job_id in _due().values_list("pk", flat=True):
        async_task(TASK, job_id)
        requested += 1
    return requested


def _due() -> QuerySet[OutputFetch]:
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    return OutputFetch.objects.filter(free, status=OutputFetch.Status.PENDING, next_attempt_at__lte=now)


def fetch_outputs(job_id: str) -> bool:
    """Copy for as long as a task may. Returns whether all is here. Another worker that copies is left alone."""
    if not _due().filter(pk=job_id).update(lease_until=timezone.now() + LEASE):
        return False
    from jobs.outputs.download import copy  # httpx and aiohttp are 12 MB, which other processes save

    fetch = OutputFetch.objects.select_related("job").get(pk=job_id)
    try:
        is_complete = asyncio.run(copy(fetch))
    except FetchError as error:
        _record_failure(fetch, error)
        return False
    status = OutputFetch.Status.COMPLETE if is_complete else OutputFetch.Status.PENDING
    _store(fetch, status=status, failures=0, problem="", lease_until=None, next_attempt_at=timezone.now())
    if is_complete:
        _point_here(fetch)
    else:
        async_task(TASK, job_id)
    return is_complete


def _point_here(fetch: OutputFetch) -> None:
    """Have the job's result be here: its provider's address is soon a dead one."""
    here = fetched_root(fetch.job).as_uri()
    Job.objects.filter(pk=fetch.pk, output_url=fetch.job.output_url).update(output_url=here)
    StoredOutput.objects.filter(pk=fetch.pk).update(measured_at=None)


def _store(fetch: OutputFetch, **columns: object) -> None:
    columns |= {"fetched": fetch.fetched, "bytes_fetched": fetch.bytes_fetched}
    OutputFetch.objects.filter(pk=fetch.pk).update(**columns)


def _record_failure(fetch: OutputFetch, error: FetchError) -> None:
    is_last = error.permanent or fetch.failures >= len(RETRY_PAUSES)
    status = OutputFetch.Status.FAILED if is_last else OutputFetch.Status.PENDING
    pause = timedelta(0) if is_last else RETRY_PAUSES[fetch.failures]
    next_attempt_at = timezone.now() + pause
    _store(
        fetch,
        status=status,
        failures=fetch.failures + 1,
        problem=str(error),
        lease_until=None,
        next_attempt_at=next_attempt_at,
    )
    extra = {"job_id": fetch.pk, "failures": fetch.failures + 1, "reason": str(error)}
    logger.log(logging.WARNING if is_last else logging.INFO, "Results could not be fetched", extra=extra)
