"""Small copies of a training's pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import TestCase
from django.utils import timezone
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from cloudtrain_site.states import SYSTEM, Source, change_state
from jobs import tasks
from jobs.maintenance import remove_files
from jobs.models import Job
from jobs.outputs import receivers, thumbnails
from jobs.outputs.folder import NotFoundError
from jobs.outputs.store import folder_of
from jobs.outputs.thumbnails import NoThumbnailError, thumbnail_of
from jobs.statuses import JobStatus
from tests.jobs.pictures import output_of, png

PICTURE = "validation_images/step_5_cat.png"


def name_for(job: Job, path: str = PICTURE, width: int = 160) -> str:
    folder = folder_of(job)
    assert folder
    return thumbnail_of(job, folder, path, width)


@pytest.fixture
def written_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "WRITING_SECONDS", 0.0)


def test_a_picture_is_made_small_once(trained: Callable[..., Job]) -> None:
    job = trained({PICTURE: png(400, 200)})
    with pytest.raises(NoThumbnailError) as error:
        name_for(job)
    assert error.value.later
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 1
    with Image.open(thumbnails.root_of(job) / name_for(job)) as small:
        assert (small.size, small.format) == ((160, 80), "WEBP")
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 0


def test_a_picture_with_transparency_keeps_it(trained: Callable[..., Job]) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(buffer, "PNG")
    job = trained({PICTURE: buffer.getvalue()})
    tasks.make_thumbnails(job.pk, [PICTURE], 160)
    with Image.open(thumbnails.root_of(job) / name_for(job)) as small:
        assert small.mode == "RGBA"


def test_a_grey_picture_of_16_bits_keeps_its_brightness(trained: Callable[..., Job]) -> None:
    buffer = io.BytesIO()
    Image.new("I;16", (800, 400), 0x8000).save(buffer, "PNG")
    job = trained({PICTURE: buffer.getvalue()})
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 1
    with Image.open(thumbnails.root_of(job) / name_for(job)) as small:
        assert (small.size, small.getpixel((80, 40))) == ((160, 80), (128, 128, 128))


def test_a_picture_that_a_camera_held_upright_is_turned(trained: Callable[..., Job]) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (400, 200)).save(buffer, "JPEG", exif=exif)
    job = trained({PICTURE: buffer.getvalue()})
    tasks.make_thumbnails(job.pk, [PICTURE], 160)
    with Image.open(thumbnails.root_of(job) / name_for(job)) as small:
        assert small.size == (80, 160)


def test_a_picture_that_changes_is_made_small_anew(trained: Callable[..., Job], tmp_path: Path) -> None:
    job = trained({PICTURE: png(400, 200)})
    tasks.make_thumbnails(job.pk, [PICTURE], 160)
    (output_of(job, tmp_path) / PICTURE).write_bytes(png(200, 400))
    with pytest.raises(NoThumbnailError):
        name_for(job)


@pytest.mark.usefixtures("written_long_ago")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(4, 4, claimed=(60_000, 60_000)), id="of 60,000 x 60,000 pixels"),
        pytest.param(png(400, 400)[:60], id="truncated"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", id="an SVG"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_bad_picture_has_no_small_copy_and_is_not_tried_again(trained: Callable[..., Job], content: bytes) -> None:
    job = trained({PICTURE: content, "good.png": png()})
    assert tasks.make_thumbnails(job.pk, [PICTURE, "good.png"], 160) == 1
    with pytest.raises(NoThumbnailError) as error:
        name_for(job)
    assert not error.value.later


def test_a_picture_that_is_being_written_is_tried_again(trained: Callable[..., Job], tmp_path: Path) -> None:
    whole = png(400, 400)
    job = trained({PICTURE: whole[:60]})
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 0
    with pytest.raises(NoThumbnailError) as error:
        name_for(job)
    assert error.value.later
    (output_of(job, tmp_path) / PICTURE).write_bytes(whole)
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 1
    assert name_for(job)


@pytest.mark.usefixtures("written_long_ago")
def test_a_bomb_is_not_unpacked(trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(9_000, 9_000)  # 81 megapixels
    assert len(bomb) < 200_000
    job = trained({PICTURE: bomb})
    monkeypatch.setattr(PngImageFile, "load", lambda self: pytest.fail("it was unpacked"))
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 0
    with pytest.raises(NoThumbnailError) as error:
        name_for(job)
    assert not error.value.later


@pytest.mark.usefixtures("written_long_ago")
def test_a_webp_whose_unpacking_would_fill_the_memory_is_not_unpacked(
    trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MAX_WEBP_PIXELS", 99)
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10)).save(buffer, "WEBP")
    job = trained({"large.webp": buffer.getvalue(), "large.png": png(10, 10)})
    assert tasks.make_thumbnails(job.pk, ["large.webp", "large.png"], 160) == 1
    with pytest.raises(NoThumbnailError) as error:
        name_for(job, "large.webp")
    assert not error.value.later


def test_a_picture_that_kills_its_worker_is_not_tried_again(
    trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: object) -> None:
        raise KeyboardInterrupt

    job = trained({PICTURE: png()})
    monkeypatch.setattr(thumbnails, "_shrink", die)
    with pytest.raises(KeyboardInterrupt):
        tasks.make_thumbnails(job.pk, [PICTURE], 160)
    monkeypatch.undo()
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 0
    with pytest.raises(NoThumbnailError) as error:
        name_for(job)
    assert error.value.later  # for all that is known, a worker is at it
    monkeypatch.setattr(thumbnails, "TRY_SECONDS", -1.0)
    with pytest.raises(NoThumbnailError) as error:
        name_for(job)
    assert not error.value.later


def test_a_picture_that_is_being_made_small_is_there_later(
    trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, shrink, seen = trained({PICTURE: png()}), thumbnails._shrink, []

    def look(*arguments: Any) -> None:
        with pytest.raises(NoThumbnailError) as error:
            name_for(job)
        seen.append(error.value.later)
        shrink(*arguments)

    monkeypatch.setattr(thumbnails, "_shrink", look)
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 1
    assert seen == [True]
    assert name_for(job)
    assert {path.suffix for path in thumbnails.root_of(job).iterdir()} == {".webp"}


def test_a_file_too_large_for_a_small_copy_has_none(
    trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 10)
    with pytest.raises(NoThumbnailError) as error:
        name_for(trained({PICTURE: png()}))
    assert not error.value.later


def test_what_is_no_picture_has_none(trained: Callable[..., Job]) -> None:
    job = trained({"weights.safetensors": b"x"})
    with pytest.raises(NoThumbnailError) as error:
        name_for(job, "weights.safetensors")
    assert not error.value.later
    with pytest.raises(NotFoundError):
        name_for(job, "none.png")


def test_a_deleted_job_has_none_left(trained: Callable[..., Job]) -> None:
    job = trained({PICTURE: png()})
    tasks.make_thumbnails(job.pk, [PICTURE], 160)
    job.deleted_at = job.created_at
    job.save()
    remove_files(job)
    assert not thumbnails.root_of(job).exists()
    assert tasks.make_thumbnails(job.pk, [PICTURE], 160) == 0


def test_many_pictures_are_more_than_one_task(trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[tuple[object, ...]] = []
    monkeypatch.setattr(thumbnails, "TASK_SECONDS", -1.0)
    monkeypatch.setattr(thumbnails, "async_task", lambda *arguments: requested.append(arguments))
    job = trained({PICTURE: png(), "b.png": png()})
    tasks.make_thumbnails(job.pk, [PICTURE, "b.png"], 160)
    assert requested == [(thumbnails.TASK, job.pk, [PICTURE, "b.png"], 160)]


def test_the_first_pictures_are_made_small_when_the_training_ends(
    trained: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"validation_images/step_{step}_cat.png": png() for step in range(1, 21)}
    job = trained(files, status=JobStatus.RUNNING)
    requested: list[tuple[str, str]] = []
    monkeypatch.setattr(receivers, "async_task", lambda task, job_id: requested.append((task, job_id)))
    with TestCase.captureOnCommitCallbacks(execute=True):
        assert change_state(job, JobStatus.COMPLETED, actor=SYSTEM, source=Source.LOOP, completed_at=timezone.now())
    assert requested == [("jobs.tasks.prepare_gallery", job.pk)]
    assert tasks.prepare_gallery(job.pk) == 13  # of 12 steps, and the slider's own
    assert tasks.prepare_gallery(job.pk) == 0


def test_a_training_without_files_prepares_nothing(trained: Callable[..., Job]) -> None:
    assert tasks.prepare_gallery(trained().pk) == 0
