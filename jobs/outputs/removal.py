"""Removing the files whose removal was announced. A removal that a crash ended is continued by the next round."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.states import Actor, Source
from jobs.models import Job, OutputFetch, StoredOutput
from jobs.outputs.folder import NotFoundError, OutputFile, OutputFolder
from jobs.outputs.keeping import WHY
from jobs.outputs.measuring import checkpoints_of, measure
from jobs.outputs.store import folder_of
from jobs.outputs.thumbnails import remove_thumbnails
from jobs.providers.emptying import empty_folder

logger = logging.getLogger("simpletuner.cloud.jobs")

KEEPER = Actor(name="retention")
#: A folder that somebody wrote into after the training's end is in use until it was quiet for so long.
QUIET = timedelta(hours=1)


def remove_due(now: datetime, until: float, ids_in_use: Callable[[], Collection[str]]) -> int:
    """Remove what is due, as long as there is time. Returns of how many trainings all went that should."""
    due = StoredOutput.objects.filter(remove_at__lte=now, pinned_at=None).select_related("job")
    rows = due.defer("job__config", "job__dataloader_config").order_by("remove_at")
    return sum(remove(row, now, until) for row in rows if time.monotonic() < until and row.pk not in ids_in_use())


def remove(row: StoredOutput, now: datetime, until: float) -> bool:
    """Remove what was announced. False: the files can't be removed now, or the time is over; the next round goes on."""
    job, folder = row.job, folder_of(row.job)
    if folder is None or not job.is_terminal:
        return False
    try:
        files = list(folder.files())
    except NotFoundError:
        return False
    if row.begun_at is None and (_is_written(job, files, now) or not _begin(row, now)):
        return False
    limit = config_in_force().retention.checkpoints
    if row.takes_all:
        is_done = _remove_below(folder, [""], until)
    else:
        old = [] if limit is None else checkpoints_of(files)[limit:]
        is_done = _remove_below(folder, [path for one in old for path in one.paths], until)
    if is_done:
        _finish(row, files, now)
    return is_done


def _is_written(job: Job, files: Iterable[OutputFile], now: datetime) -> bool:
    """Whether something writes into the folder still, or results are on their way into it."""
    if OutputFetch.objects.filter(pk=job.pk, status=OutputFetch.Status.PENDING).exists():
        return True
    quiet_since = (now - QUIET).timestamp()
    return any(quiet_since < file.modified <= now.timestamp() for file in files)


def _begin(row: StoredOutput, now: datetime) -> bool:
    """From now on nobody can pin the files. False: somebody did, or the removal was taken back."""
    mine = StoredOutput.objects.filter(pk=row.pk, remove_at__lte=now, cause=row.cause, pinned_at=None)
    return bool(mine.update(begun_at=now))


def _finish(row: StoredOutput, before: Iterable[OutputFile], now: datetime) -> None:
    job = row.job
    if row.takes_all:
        remove_thumbnails(job)
    had = {file.path: file.size for file in before}
    measure(job)
    folder = folder_of(job)
    for file in folder.files() if folder else ():
        had.pop(file.path, None)
    took = "all files" if row.takes_all else "older checkpoints"
    sentence = f"Removed {took}, {filesizeformat(sum(had.values()))}: {WHY[StoredOutput.Cause(row.cause)]}"
    with unit_of_work():
        StoredOutput.objects.filter(pk=row.pk).update(
            remove_at=None, cause="", begun_at=None, removed_at=timezone.now(), removed=sentence
        )
        job.record_note(KEEPER, Source.LOOP, sentence)
    logger.info("Results were removed", extra={"job_id": job.pk, "files": len(had), "bytes": sum(had.values())})


def _remove_below(folder: OutputFolder, paths: Iterable[str], until: float) -> bool:
    """Remove the files and folders at `paths` ("": all that is in the folder). No link is followed.

    False: the time is over, or something can't be removed.
    """
    try:
        return all(_remove_path(folder, path, until) for path in paths)
    except NotFoundError:
        return True
    except OSError as error:
        logger.warning("Results can't be removed: %s", error.strerror or error)
        return False


def _remove_path(folder: OutputFolder, path: str, until: float) -> bool:
    if path and not path.endswith("/"):
        above, _, name = path.rpartition("/")
        with folder.opened(above) as descriptor:
            os.unlink(name, dir_fd=descriptor)
        return True
    with folder.opened(path) as descriptor:
        if not empty_folder(descriptor, until):
            return False
    if path:
        inner = Path(path.rstrip("/"))
        with folder.opened("" if inner.parent == Path() else str(inner.parent)) as descriptor:
            os.rmdir(inner.name, dir_fd=descriptor)
    return True
