"""The submission of a training to Ray, and again when Ray lost it before its runner began.

A head that is restarted, even with its store, forgets to start what waited (measured: they wait until Ray's start
timeout, and fail). With a shared folder that costs nobody a training: the order and its files are kept there, for the
site alone, until the runner has begun. The runner claims the folder first, so that a marker trains once, however often
it is submitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from jobs.providers.clusters.training_folder import TrainingFolder
from jobs.providers.local.files import NotRegularFileError
from jobs.providers.ray.client import MAX_PACKAGE_BYTES, Connection, RayError
from jobs.providers.ray.package import Package
from jobs.providers.runner import records

JOBS = "/api/jobs/"
KEPT = "submission.json"
KEPT_FILES = "submission.zip"
MAX_KEPT_BYTES = 200_000
#: So often one marker is submitted, by us and by what Ray lost.
MAX_SUBMISSIONS = 5


async def send_files(connection: Connection, files: Package) -> None:
    """Send the package, which Ray may drop after ten minutes. Raises RayError: then nothing was created."""
    try:
        await connection.send("PUT", files.path, content=files.data)
    except RayError as error:
        error.nothing_created = True  # files without a job do nothing
        raise


async def send_job(connection: Connection, job: Mapping[str, Any]) -> None:
    """Send the job, or find that it is there. Raises RayError with what is known of it."""
    try:
        await connection.json("POST", JOBS, json=job)
    except RayError as error:
        if error.nothing_created:
            raise
        await _settle(connection, str(job["submission_id"]), error)


async def _settle(connection: Connection, marker: str, error: RayError) -> None:
    """Return if the job is there, whatever the answer was; else raise what is known of its submission."""
    try:
        await connection.json("GET", f"{JOBS}{marker}")
    except RayError as second:
        # After an answer Ray has done all that it will do. Without one the request may be on its way still.
        error.nothing_created = second.code == 404 and error.code is not None
        raise error from None


async def forget_job(connection: Connection, marker: str) -> bool:
    """Make Ray forget an ended job, so that it takes its marker again. False: it has not ended."""
    try:
        await connection.send("DELETE", f"{JOBS}{marker}")
    except RayError as error:
        if error.code == 500:
            return False
        if error.code != 404:
            raise
    return True


def keep(folder: TrainingFolder, job: Mapping[str, Any], files: Package, *, sent: int = 1) -> None:
    """Keep what Ray is asked for, and how often it was. Raises OSError."""
    folder.write(KEPT_FILES, files.data)
    folder.write(KEPT, json.dumps({"sent": sent, "name": files.name, "job": job}).encode())


def drop(folder: TrainingFolder) -> None:
    """Remove what was kept, which has the training's secrets. What can't be removed is at the next look."""
    with suppress(OSError):
        for name in (KEPT, KEPT_FILES):
            (folder.path / name).unlink(missing_ok=True)


def kept_of(folder: TrainingFolder) -> tuple[int, dict[str, Any], Package] | None:
    """Return how often Ray was asked, for what, and the files. Raises OSError.

    None: the runner has begun, a cancellation was asked for, nothing is kept, or Ray was asked often enough.
    """
    if any((folder.path / name).exists() for name in (records.CLAIM, records.END, records.CANCEL)):
        return None
    try:
        kept = json.loads(folder.read(KEPT, MAX_KEPT_BYTES))
        sent, name, job = int(kept["sent"]), str(kept["name"]), dict(kept["job"])
        files = Package(name, folder.read(KEPT_FILES, MAX_PACKAGE_BYTES))
    except (FileNotFoundError, NotADirectoryError, NotRegularFileError, ValueError, KeyError, TypeError):
        return None
    return None if sent >= MAX_SUBMISSIONS else (sent, job, files)


def take(folder: TrainingFolder) -> tuple[dict[str, Any], Package] | None:
    """Return what Ray was asked for, to ask again, and count that. None: as above. Raises OSError."""
    kept = kept_of(folder)
    if kept is None:
        return None
    sent, job, files = kept
    keep(folder, job, files, sent=sent + 1)
    return job, files
