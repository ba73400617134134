"""Small copies of a training's pictures, made once, by the background and never while somebody waits.

A picture is a trainer's word: it may be a bomb, or cut, or crash the decoder. So its size is read before it is decoded,
and a picture is marked as refused before its decoding begins: one that kills its worker is not tried again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from django.conf import settings
from django_q.tasks import async_task

from jobs.models import Job
from jobs.outputs.folder import NotFoundError, OpenFile, OutputFolder
from jobs.outputs.gallery import gallery_of
from jobs.outputs.kinds import OutputKind, describe
from jobs.outputs.store import folder_of

logger = logging.getLogger("simpletuner.cloud.jobs")

TASK = "jobs.tasks.make_thumbnails"
#: In pixels, of the longer side.
WIDTHS = (160, 320, 640)
#: Those of a gallery's page, and of its slider.
SMALL, LARGE = 320, 640
MAX_PIXELS = 64_000_000
#: Its decoder takes 16 bytes of memory for each pixel, four times as much as the others.
MAX_WEBP_PIXELS = 16_000_000
MAX_BYTES = 200_000_000
#: The formats that trainings write. Each further decoder would be one more that reads a stranger's bytes.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
#: A task's time limit is a minute: what is left after this has a task of its own.
TASK_SECONDS = 20.0
QUALITY = 80
REFUSED, REQUESTED = ".refused", ".requested"
#: Longer than a task may take.
TRY_SECONDS = 90.0
#: A request whose task was lost is made again after this.
REQUEST_SECONDS = 30.0
#: A picture that can't be decoded so shortly after it was written may be one of which more follows.
WRITING_SECONDS = 10.0


class NoThumbnailError(Exception):
    """There is no small copy. `later`: it is being made; otherwise the picture can't have one."""

    def __init__(self, *, later: bool) -> None:
        super().__init__()
        self.later = later


def root_of(job: Job) -> Path:
    return Path(settings.DATA_DIR) / "thumbnails" / job.pk


def name_of(path: str, file: OpenFile, width: int) -> str:
    """Return the name of the small copy of a file as it is now: a changed file has another."""
    identity = f"{path}\n{file.modified:.6f}\n{file.size}"
    return f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}-{width}.webp"


def thumbnail_of(job: Job, folder: OutputFolder, path: str, width: int) -> str:
    """Return the name, in `root_of`, of the small copy of the picture at `path`.

    Raises NotFoundError for what is no file, and NoThumbnailError.
    """
    file = _looked_at(folder, path)
    name = name_of(path, file, width)
    target = root_of(job) / name
    if target.exists():
        return name
    may_have_one = describe(path).kind == OutputKind.IMAGE and file.size <= MAX_BYTES
    raise NoThumbnailError(later=may_have_one and not _is_refused(target))


def _is_refused(target: Path) -> bool:
    """Whether the picture can't be made small. Both marks: a worker tries, or died of it."""
    try:
        begun_at = _mark(target, REFUSED).stat().st_mtime
    except FileNotFoundError:
        return False
    return not _mark(target, REQUESTED).exists() or time.time() - begun_at > TRY_SECONDS


def _mark(target: Path, kind: str) -> Path:
    return target.with_name(f"{target.name}{kind}")


def request_thumbnails(job: Job, paths: Sequence[str], width: int) -> None:
    """Have the background make the small copies of these pictures that are missing and were not asked for just now."""
    folder = folder_of(job)
    missing = [path for path in paths if folder and _claim_request(job, folder, path, width)]
    if missing:
        async_task(TASK, job.pk, missing, width)


def _claim_request(job: Job, folder: OutputFolder, path: str, width: int) -> bool:
    """Whether the small copy is missing, and nobody asked for it in the last REQUEST_SECONDS."""
    try:
        name = name_of(path, _looked_at(folder, path), width)
    except NotFoundError:
        return False
    root = root_of(job)
    if (root / name).exists() or (root / f"{name}{REFUSED}").exists():
        return False
    mark = root / f"{name}{REQUESTED}"
    with suppress(FileNotFoundError):
        if time.time() - mark.stat().st_mtime < REQUEST_SECONDS:
            return False
    root.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return True


def _looked_at(folder: OutputFolder, path: str) -> OpenFile:
    file = folder.open(path)
    file.close()
    return file


def make_thumbnails(job: Job, paths: Sequence[str], width: int) -> int:
    """Make the small copies that are missing, for as long as a task may. Returns how many were made."""
    folder = folder_of(job)
    if folder is None:
        return 0
    until, made = time.monotonic() + TASK_SECONDS, 0
    for place, path in enumerate(paths):
        if time.monotonic() > until:
            async_task(TASK, job.pk, list(paths[place:]), width)
            break
        made += _make_missing(job, folder, path, width)
    return made


def prepare_gallery(job: Job) -> int:
    """Make the small copies that the gallery's page shows at first. Returns how many were made."""
    folder = folder_of(job)
    if folder is None:
        return 0
    try:
        gallery = gallery_of(folder.files(), {})
    except NotFoundError:
        return 0
    first = gallery.first_in_slider
    made = make_thumbnails(job, [picture.path for picture in gallery.first_shown], SMALL)
    return made + (make_thumbnails(job, [first.path], LARGE) if first else 0)


def remove_thumbnails(job: Job) -> None:
    shutil.rmtree(root_of(job), ignore_errors=True)


def _make_missing(job: Job, folder: OutputFolder, path: str, width: int) -> bool:
    try:
        file = folder.open(path)
    except NotFoundError:
        return False
    target = root_of(job) / name_of(path, file, width)
    refused, requested = _mark(target, REFUSED), _mark(target, REQUESTED)
    with closing(file), os.fdopen(file.descriptor, "rb", closefd=False) as content:
        if target.exists() or refused.exists() or file.size > MAX_BYTES:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        requested.touch()
        refused.touch()
        try:
            _shrink(content, target, width)
        except Exception as error:  # a decoder raises anything for a stranger's bytes
            extra = {"job_id": job.pk, "path": path, "error": type(error).__name__}
            logger.info("A picture of a training can't be made small", extra=extra)
            requested.unlink(missing_ok=True)
            if time.time() - file.modified < WRITING_SECONDS:
                refused.unlink(missing_ok=True)
            return False
    for mark in (refused, requested):
        mark.unlink(missing_ok=True)
    return True


def _shrink(content: object, target: Path, width: int) -> None:
    """Write the picture to `target`, at most `width` pixels wide and high. Raises whatever its decoder does."""
    from PIL import Image, ImageOps  # 10 MB, which the processes that make no thumbnails save

    with Image.open(content, formats=FORMATS) as picture:  # type: ignore[arg-type]
        if picture.width * picture.height > (MAX_WEBP_PIXELS if picture.format == "WEBP" else MAX_PIXELS):
            raise ValueError(f"{picture.width} x {picture.height} pixels")
        small: Image.Image = picture
        if picture.mode.startswith("I"):  # 16 bits of grey, which can't be reduced, and would be cut off at 255
            small = picture.point(lambda level: level / 256).convert("L")
        small.thumbnail((width, width))  # before it is turned: that makes a copy
        small = ImageOps.exif_transpose(small)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as draft:
            small.convert("RGBA" if "A" in small.getbands() else "RGB").save(draft, "WEBP", quality=QUALITY)
    Path(draft.name).replace(target)
