"""The curves of a job with few points, kept in the database: the log of a long training takes seconds to read.

A worker reads the log; a short one is read at once by whoever asks.
"""

from __future__ import annotations

import json
import zlib
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone
from django_q.tasks import async_task

from jobs import logs
from jobs.curves.columns import thinned
from jobs.curves.reading import curves_of
from jobs.curves.series import Curves
from jobs.models import Job, KeptCurves
from jobs.statuses import TERMINAL

TASK = "jobs.tasks.keep_curves"
#: More than a chart has pixels for, when several curves lie over each other.
POINTS = 1_000
#: A log of this length is read during the request, which takes a tenth of a second; a worker reads longer ones.
SHORT_LOG_BYTES = 200_000
#: A worker that was asked this long ago has died, or has a long queue.
REQUEST_LIFE = timedelta(minutes=2)
#: The curves of a training that goes on are read again after this.
FRESH = timedelta(seconds=30)
#: The upkeep has the logs of jobs read that ended this lately, so many in a round.
LATELY = timedelta(hours=2)
MAX_REQUESTS = 10


def few(curves: Curves) -> Curves:
    """Return the curves with at most POINTS points of each, the extremes among them."""
    series = {name: thinned(points, POINTS) for name, points in curves.series.items()}
    return Curves(series, thinned(curves.seconds, POINTS), curves.gaps)


def kept_curves_of(job: Job) -> Curves | None:
    """Return the curves of the job with few points; None: a worker reads them now, ask again in a second.

    Those of a training that goes on may be as old as FRESH, and a worker's reading takes.
    """
    row = KeptCurves.objects.filter(pk=job.pk).first()
    if row is not None and row.data is not None and (row.is_final or _is_fresh(row)):
        return _unpacked(bytes(row.data))
    if logs.size_of(job) <= SHORT_LOG_BYTES:
        return few(curves_of(job))
    request_reading(job)
    return _unpacked(bytes(row.data)) if row is not None and row.data is not None else None


def _is_fresh(row: KeptCurves) -> bool:
    return row.read_at is not None and row.read_at > timezone.now() - FRESH


def request_reading(job: Job) -> bool:
    """Have a worker read the job's log. False: one was asked lately."""
    now = timezone.now()
    row, is_new = KeptCurves.objects.get_or_create(job=job, defaults={"requested_at": now})
    if not is_new:
        unanswered = Q(requested_at__lt=now - REQUEST_LIFE) | Q(read_at__gt=row.requested_at)
        if not KeptCurves.objects.filter(unanswered, pk=job.pk, is_final=False).update(requested_at=now):
            return False
    async_task(TASK, job.pk)
    return True


def keep_curves(job: Job) -> bool:
    """Read the job's log and keep its curves. False: there are none, or the job is gone."""
    is_final = job.is_terminal and job.log_due_at is None
    now, curves = timezone.now(), few(curves_of(job))
    if not any(curves.series.values()):
        return False
    losses = curves.series.get("loss")
    last_loss = losses[-1][1] if losses else None
    columns = {"data": _packed(curves), "read_at": now, "is_final": is_final, "last_loss": last_loss}
    return bool(KeptCurves.objects.filter(pk=job.pk, job__deleted_at=None).update(**columns))


def request_forgotten() -> int:
    """Have the curves of trainings kept that ended lately with a long log. Returns of how many."""
    ended = Job.objects.kept().filter(
        completed_at__gt=timezone.now() - LATELY, status__in=TERMINAL, external_id__isnull=False, kept_curves=None
    )
    waiting = ended.filter(log_due_at=None).defer("config", "dataloader_config").order_by("completed_at")
    return sum(map(request_reading, waiting[:MAX_REQUESTS]))


def _packed(curves: Curves) -> bytes:
    parts = {"series": curves.series, "seconds": curves.seconds, "gaps": curves.gaps}
    return zlib.compress(json.dumps(parts, separators=(",", ":")).encode())


def _unpacked(data: bytes) -> Curves:
    parts = json.loads(zlib.decompress(data))
    return Curves(parts["series"], parts["seconds"], parts["gaps"])
