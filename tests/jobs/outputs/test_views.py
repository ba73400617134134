"""What a training wrote, over HTTP."""

from __future__ import annotations

import gc
import io
import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.http.response import HttpResponseBase
from rest_framework.test import APIClient

from cloudtrain_site.states import Actor, Source
from jobs import lifecycle, tasks
from jobs.models import Job
from jobs.outputs import serving, thumbnails
from jobs.statuses import JobStatus
from tests.jobs.pictures import output_of, png

PICTURE = "validation_images/step_5_cat.png"
FILES = {
    PICTURE: png(400, 200),
    "checkpoint-5/state.json": b"{}",
    "model.safetensors": bytes(range(100)),
    "x.svg": b"<",
}


def content_of(response: HttpResponseBase) -> bytes:
    if not response.streaming:
        return bytes(response.content)  # type: ignore[attr-defined]

    async def read() -> bytes:
        return b"".join([piece async for piece in response])  # type: ignore[attr-defined]

    return async_to_sync(read)()


@pytest.fixture
def get(client_of: Callable[[User | None], APIClient]) -> Callable[..., Any]:
    def get(user: User | None, job: Job, path: str, **headers: str) -> Any:
        return client_of(user).get(f"/api/cloud/jobs/{job.pk}/{path}", headers=headers)

    return get


def test_the_files_of_a_training_are_listed(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    answer = get(alice, trained(FILES), "outputs").json()
    assert answer["complete"] is True
    assert [(one["path"], one["kind"], one["size"], one["step"]) for one in answer["outputs"]] == [
        ("checkpoint-5/state.json", "checkpoint", 2, 5),
        ("model.safetensors", "weights", 100, None),
        (PICTURE, "image", len(FILES[PICTURE]), 5),
        ("x.svg", "other", 1, None),
    ]
    assert answer["outputs"][0]["modified_at"].endswith("Z")


def test_a_folder_is_listed_alone(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES)
    paths = [one["path"] for one in get(alice, job, "outputs?path=checkpoint-5").json()["outputs"]]
    assert paths == ["checkpoint-5/state.json"]
    assert get(alice, job, "outputs?path=../..").status_code == 404


def test_a_running_training_is_not_complete(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    assert get(alice, trained(FILES, status=JobStatus.RUNNING), "outputs").json()["complete"] is False


def test_a_job_that_never_began_has_no_files(get: Any, alice: User, make_job: Callable[..., Job]) -> None:
    job = make_job(status=JobStatus.PENDING)
    assert get(alice, job, "outputs").json() == {"outputs": [], "complete": False}
    assert get(alice, job, "outputs.zip").status_code == 404
    assert get(alice, job, "outputs/a.txt").status_code == 404


def test_a_file_is_downloaded_whole(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    response = get(alice, trained(FILES), "outputs/model.safetensors")
    assert content_of(response) == FILES["model.safetensors"]
    assert response["Content-Length"] == "100"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"] == 'attachment; filename="model.safetensors"'
    assert response["Accept-Ranges"] == "bytes"


def test_a_part_of_a_file_is_downloaded(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES)
    response = get(alice, job, "outputs/model.safetensors", Range="bytes=10-19")
    assert (response.status_code, response["Content-Range"]) == (206, "bytes 10-19/100")
    assert content_of(response) == FILES["model.safetensors"][10:20]
    refused = get(alice, job, "outputs/model.safetensors", Range="bytes=100-")
    assert (refused.status_code, refused["Content-Range"]) == (416, "bytes */100")


def test_a_part_of_a_file_that_changed_is_all_of_it(
    get: Any, alice: User, trained: Callable[..., Job], tmp_path: Path
) -> None:
    job = trained(FILES)
    tag = get(alice, job, "outputs/model.safetensors")["ETag"]
    headers = {"Range": "bytes=10-19", "If-Range": tag}
    assert get(alice, job, "outputs/model.safetensors", **headers).status_code == 206
    (output_of(job, tmp_path) / "model.safetensors").write_bytes(b"another")
    assert content_of(get(alice, job, "outputs/model.safetensors", **headers)) == b"another"


def test_a_file_that_the_client_has_is_not_sent_again(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES)
    tag = get(alice, job, f"outputs/{PICTURE}")["ETag"]
    assert get(alice, job, f"outputs/{PICTURE}", **{"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "script.js", "a.xml", "noending", "x.pdf"])
def test_what_a_browser_could_run_is_only_a_download(
    get: Any, alice: User, trained: Callable[..., Job], name: str
) -> None:
    response = get(alice, trained({name: b"<script>alert(1)</script>"}), f"outputs/{name}")
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert "sandbox" in response["Content-Security-Policy"]
    assert "script-src" not in response["Content-Security-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_picture_shows_and_runs_nothing(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    response = get(alice, trained(FILES), f"outputs/{PICTURE}")
    assert response["Content-Type"] == "image/png"
    assert response["Content-Disposition"].startswith("inline")
    assert "sandbox" in response["Content-Security-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_name_with_control_characters_breaks_no_header(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    response = get(alice, trained({'a"\r\nX: y 🎨.txt': b"x"}), "outputs/a%22%0D%0AX%3A%20y%20%F0%9F%8E%A8.txt")
    assert content_of(response) == b"x"
    assert "\n" not in response["Content-Disposition"]


@pytest.mark.parametrize("path", ["../process.json", "%2e%2e/process.json", "none", "checkpoint-5", "a%00b"])
def test_nothing_outside_of_the_output_is_sent(
    get: Any, alice: User, trained: Callable[..., Job], tmp_path: Path, path: str
) -> None:
    job = trained(FILES)
    (output_of(job, tmp_path).parent / "process.json").write_text("{}")
    (output_of(job, tmp_path) / "link").symlink_to(output_of(job, tmp_path).parent / "process.json")
    assert get(alice, job, f"outputs/{path}").status_code == 404
    assert get(alice, job, "outputs/link").status_code == 404


def test_a_folder_is_downloaded_as_a_zip(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES)
    response = get(alice, job, "outputs.zip")
    assert len(zipfile.ZipFile(io.BytesIO(content_of(response))).namelist()) == 4
    assert job.pk in response["Content-Disposition"]
    part = get(alice, job, "outputs.zip?path=checkpoint-5")
    assert zipfile.ZipFile(io.BytesIO(content_of(part))).namelist() == ["state.json"]
    assert get(alice, job, "outputs.zip?path=none").status_code == 404


def test_a_small_copy_is_asked_for_and_then_there(
    get: Any,
    alice: User,
    trained: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    requested: list[tuple[Any, ...]] = []
    monkeypatch.setattr(thumbnails, "async_task", lambda *arguments: requested.append(arguments))
    job = trained(FILES)
    response = get(alice, job, f"outputs/{PICTURE}?thumbnail=160")
    assert (response.status_code, response["Retry-After"]) == (202, "1")
    assert "request_finished" in caplog.messages
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    [(_, *arguments)] = requested
    tasks.make_thumbnails(*arguments)
    response = get(alice, job, f"outputs/{PICTURE}?thumbnail=160")
    assert (response.status_code, response["Content-Type"]) == (200, "image/webp")
    assert content_of(response)[:4] == b"RIFF"
    assert get(alice, job, f"outputs/{PICTURE}?thumbnail=161").status_code == 400
    assert get(alice, job, "outputs/model.safetensors?thumbnail=160").status_code == 404


def test_nginx_sends_the_file_where_it_is_set(
    get: Any, alice: User, trained: Callable[..., Job], settings: Any, tmp_path: Path
) -> None:
    settings.ACCELERATED_LOCATION = "/files/"
    job = trained({"a b.txt": b"x"})
    response = get(alice, job, "outputs/a%20b.txt")
    assert response["X-Accel-Redirect"] == f"/files{output_of(job, tmp_path)}/a%20b.txt"
    assert response["Content-Type"] == "application/octet-stream"
    assert content_of(response) == b""


def test_a_file_whose_path_is_too_long_for_nginx_is_sent_by_the_site(
    get: Any, alice: User, trained: Callable[..., Job], settings: Any
) -> None:
    settings.ACCELERATED_LOCATION = "/files/"
    path = "/".join(["\N{PARTY POPPER}" * 50] * 4)
    job = trained({path: b"content"})
    response = get(alice, job, f"outputs/{quote(path)}", Range="bytes=2-3")
    assert (response.status_code, content_of(response)) == (206, b"nt")
    assert not response.has_header("X-Accel-Redirect")


def test_a_path_of_the_server_is_never_shown(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES, output_url="file:///srv/data/jobs/1/output")
    shown = APIClient()
    shown.force_authenticate(alice)
    answer = shown.get(f"/api/cloud/jobs/{job.pk}").json()["job"]
    assert answer["output_url"] == f"http://localhost:8001/jobs/{job.pk}/results"
    assert "/srv/data" not in str(answer)


def test_strangers_see_nothing(get: Any, charlie: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES)
    for path in ("outputs", "outputs.zip", "outputs/model.safetensors", f"outputs/{PICTURE}?thumbnail=160"):
        assert get(charlie, job, path).status_code == 404
        assert get(None, job, path).status_code == 401


def test_a_download_leaves_no_file_open(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained(FILES)
    for path in ("model.safetensors", "none", "x.svg"):
        content_of(get(alice, job, f"outputs/{path}"))
    get(alice, job, "outputs/model.safetensors", Range="bytes=100-")
    get(alice, job, "outputs/model.safetensors")  # nobody reads the answer
    gc.collect()
    assert not {path for path in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if Path(path).name in FILES}


def test_the_guide_has_nginx_send_the_headers_that_it_drops() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "outputs.md").read_text()
    assert f'add_header Content-Security-Policy "{serving.POLICY}" always;' in guide
    assert "add_header X-Content-Type-Options nosniff always;" in guide


@pytest.mark.parametrize(
    "path",
    [
        "a\nb\r\nSet-Cookie: x=1.bin",
        "bad names/..hidden..png",
        "\N{PARTY POPPER}\N{ZERO WIDTH JOINER}\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
        "/".join(["d" * 200] * 19) + "/end.bin",
        "%2e%2e/%00.bin",
        '"><script>alert(1)</script>.png',
    ],
    ids=["line breaks", "dots", "emoji and marks", "3,800 bytes", "percents", "markup"],
)
def test_a_strange_name_is_listed_and_downloaded(get: Any, alice: User, trained: Callable[..., Job], path: str) -> None:
    job = trained({path: b"content"})
    assert [file["path"] for file in get(alice, job, "outputs").json()["outputs"]] == [path]
    answer = get(alice, job, f"outputs/{quote(path)}")
    assert content_of(answer) == b"content"
    assert all(character not in answer["Content-Disposition"] for character in "\r\n")
    assert "Set-Cookie" not in answer.headers
    with zipfile.ZipFile(io.BytesIO(content_of(get(alice, job, "outputs.zip")))) as archive:
        assert archive.read(archive.namelist()[0]) == b"content"


def test_a_picture_with_a_script_is_only_a_download(get: Any, alice: User, trained: Callable[..., Job]) -> None:
    job = trained({"step_1_cat.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"})
    answer = get(alice, job, "outputs/step_1_cat.svg")
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer["Content-Security-Policy"]
    assert get(alice, job, "outputs/step_1_cat.svg?thumbnail=320").status_code == 404


def test_a_zip_whose_job_is_deleted_meanwhile_ends_in_order(
    get: Any, alice: User, trained: Callable[..., Job], tmp_path: Path
) -> None:
    size = 3_000_000
    job = trained({"a.bin": b"a" * size, "b.bin": b"b" * size, "c.bin": b"c" * size}, submitted_by=alice)
    answer = get(alice, job, "outputs.zip")

    async def read() -> bytes:
        pieces = aiter(answer)
        begun: bytes = await anext(pieces)
        assert await sync_to_async(lifecycle.delete)(job, actor=Actor.of(alice), source=Source.API)
        await sync_to_async(tasks.clear_away)(job.pk)
        shutil.rmtree(output_of(job, tmp_path))
        return begun + b"".join([piece async for piece in pieces])

    with zipfile.ZipFile(io.BytesIO(async_to_sync(read)())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.bin", "INCOMPLETE.txt"]
        assert archive.read("a.bin") == b"a" * size  # it was open
        assert archive.read("INCOMPLETE.txt").decode().splitlines()[2:] == ["b.bin", "c.bin"]
    assert get(alice, job, "outputs.zip").status_code == 404
