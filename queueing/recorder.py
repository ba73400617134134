"""Record the providers' answers: one transaction for all that arrived meanwhile, not one each."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from asgiref.sync import sync_to_async

from cloudtrain_site.database.connections import repeat_when_lost
from cloudtrain_site.database.late_writes import write_now_or_later
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Source
from jobs import lifecycle
from jobs.job_context import job_log_context
from jobs.models import Job
from jobs.providers.base import Snapshot
from jobs.sync import orphans
from queueing import claims
from queueing.models import QueueEntry


class Accepted(NamedTuple):
    entry: QueueEntry
    job: Job
    snapshot: Snapshot


def record(accepted: Sequence[Accepted]) -> list[bool]:
    """Record what the providers started, all of it or nothing, also when the connection is lost meanwhile.

    Returns for each whether it counts. False: the claim was taken over, or the lost connection had recorded it.
    """
    counts = repeat_when_lost(partial(_record, accepted))
    counted = [one.job for one, counts_too in zip(accepted, counts, strict=True) if counts_too]
    repeat_when_lost(partial(_pass_on_cancellations, counted))
    return counts


def record_now_or_later(accepted: Accepted) -> bool:
    """As `record`, for one; on a full disk as soon as there is room. False: not yet."""
    with job_log_context(accepted.job):
        return write_now_or_later(partial(record, [accepted]), [False])[0]


def _record(accepted: Sequence[Accepted]) -> list[bool]:
    with unit_of_work():
        # Copies, since a failure must leave the originals unchanged: they are recorded again.
        return [_record_one(copy.copy(entry), copy.copy(job), snapshot) for entry, job, snapshot in accepted]


def _record_one(entry: QueueEntry, job: Job, snapshot: Snapshot) -> bool:
    with job_log_context(job):
        counts = claims.confirm(entry)
        if not (counts and lifecycle.mark_submitted(job, snapshot, actor=claims.DISPATCHER)):
            _adopt_orphan(job, snapshot)
        return counts


def _adopt_orphan(job: Job, snapshot: Snapshot) -> None:
    """Adopt a training whose job ended meanwhile, or got another by a webhook: it would run unseen."""
    current = Job.objects.select_related("organization").get(pk=job.pk)
    if orphans.is_orphan(current, snapshot):
        orphans.adopt_orphan(current, snapshot, source=Source.DISPATCHER)


def _pass_on_cancellations(jobs: Sequence[Job]) -> None:
    """Cancel jobs whose cancel was requested during the provider call."""
    cancelled = Job.objects.filter(pk__in=[job.pk for job in jobs]).exclude(cancel_requested_at=None)
    for job in cancelled:
        with job_log_context(job):
            lifecycle.request_cancel(job, actor=claims.DISPATCHER, source=Source.DISPATCHER)


class ResultRecorder:
    """Records the answers of one event loop; those that arrive during a write go together into the next one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Accepted, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        # Not the context of the first job that is recorded: each is written with its own.
        self._context = contextvars.copy_context()

    async def record(self, accepted: Accepted) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((accepted, answer))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write(), context=self._context)
        return await answer

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                counts = await sync_to_async(record)([one for one, _ in batch])
            except Exception:
                await _write_one_by_one(batch)
            else:
                for (_, answer), counted in zip(batch, counts, strict=True):
                    answer.set_result(counted)


async def _write_one_by_one(batch: Sequence[tuple[Accepted, asyncio.Future[bool]]]) -> None:
    """Record each by itself: one that can't be recorded must not fail the others."""
    for accepted, answer in batch:
        try:
            answer.set_result(await sync_to_async(record_now_or_later)(accepted))
        except Exception as error:
            answer.set_exception(error)
