"""How much ended trainings wrote, measured once for each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from jobs.models import Job, OutputFetch, StoredOutput
from jobs.outputs.folder import NotFoundError, OutputFile
from jobs.outputs.kinds import CHECKPOINT, OutputKind, describe
from jobs.outputs.store import deletes_output, folder_of
from jobs.statuses import ACTIVE

BATCH = 200


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a training wrote at one step to go on from: folders, and weights beside them."""

    step: int
    #: The folders, with a slash at their ends, and the files.
    paths: Sequence[str]


def checkpoints_of(files: Iterable[OutputFile]) -> list[Checkpoint]:
    """Return the checkpoints whose names tell a step, the newest first."""
    by_step: dict[int, dict[str, None]] = {}
    for file in files:
        kind, step = describe(file.path)
        if step is None:
            continue
        if kind == OutputKind.CHECKPOINT and (match := CHECKPOINT.search(file.path)):
            by_step.setdefault(step, {})[file.path[: match.end()]] = None
        elif kind == OutputKind.WEIGHTS:
            by_step.setdefault(step, {})[file.path] = None
    return [Checkpoint(step, list(by_step[step])) for step in sorted(by_step, reverse=True)]


def measure(job: Job) -> bool:
    """Store how much the files of an ended training are. False: they are not within this machine's sight."""
    folder = folder_of(job)
    if folder is None and not deletes_output(job):
        return False
    try:
        files = list(folder.files()) if folder else []
    except NotFoundError:
        return False
    found = {
        "files": len(files),
        "size": sum(file.size for file in files),
        "checkpoints": len(checkpoints_of(files)),
        "measured_at": timezone.now(),
    }
    StoredOutput.objects.update_or_create(job=job, defaults=found)
    return True


def measure_ended(until: float) -> int:
    """Measure the trainings that ended since the last time, the newest first. Returns how many."""
    return sum(measure(job) for job in takewhile(lambda _: time.monotonic() < until, _unmeasured()))


def _unmeasured() -> Iterator[Job]:
    before: str | None = None
    while batch := list(_next(before)[:BATCH]):
        yield from batch
        before = batch[-1].pk


def _next(before: str | None) -> QuerySet[Job]:
    # As subqueries: PostgreSQL takes a join's missing rows for few, and reads and sorts all jobs for each batch.
    of_job = {"job": OuterRef("pk")}
    is_measured = Exists(StoredOutput.objects.filter(**of_job, measured_at__isnull=False))
    is_coming = Exists(OutputFetch.objects.filter(**of_job, status=OutputFetch.Status.PENDING))
    # Not by the statuses of those that ended: SQLite would read all of them to have them in their order.
    jobs = Job.objects.filter(~is_measured, ~is_coming).exclude(status__in=ACTIVE).exclude(external_id=None)
    jobs = jobs if before is None else jobs.filter(pk__lt=before)
    return jobs.defer("config", "dataloader_config", "sealed").order_by("-pk")
