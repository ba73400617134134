"""A provider that takes datasets, and what the tests of transfers do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from jobs.models import Job
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.statuses import JobStatus
from queueing import dispatch, transfers
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider

Step = Callable[[DatasetTransfer, TransferProgress], Awaitable[None]]
UPLOADING = (JobStatus.UPLOADING, EntryStatus.DISPATCHING)
GOES = (JobStatus.QUEUED, EntryStatus.RUNNING)


@dataclass
class Carrier(ScriptedProvider):
    """Takes datasets; each transfer does the next of `steps` first."""

    name: str = "carrier"
    staging: str = "Carrying dataset"
    steps: list[Step] = field(default_factory=list)
    transfers: list[DatasetTransfer] = field(default_factory=list)

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        self.transfers.append(transfer)
        if self.steps:
            await self.steps.pop(0)(transfer, progress)
        return RemoteCopy(f"f-{len(self.transfers)}", f"https://carrier/f-{len(self.transfers)}")


def state(job: Job) -> tuple[str, str]:
    job.refresh_from_db()
    return job.status, QueueEntry.objects.get(job=job).status


def again() -> int:
    """What a pass and the transfers do once every pause and lease is over."""
    QueueEntry.objects.filter(status=EntryStatus.PENDING).update(not_before=None)
    QueueEntry.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now() - timedelta(seconds=1))
    dispatch.run_pass()
    return transfers.run()


async def until_stopped(transfer: DatasetTransfer, progress: TransferProgress) -> None:
    while True:
        progress.advance(0)
        await asyncio.sleep(0.001)
