"""Datasets over HTTP: taken in on the disk, checked, shown to their own people alone, removed when nobody uses them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.extensions import RequestLimit
from cloudtrain_site.registry import Registry
from cloudtrain_site.retention.runs import remove_old
from cloudtrain_site.serving import body_limit
from jobs.datasets import store
from jobs.models import DatasetUpload, Job, Membership, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from tests.dataset_archives import make_tar, make_zip
from tests.races import at_once
from tests.web import session_cookies

pytestmark = pytest.mark.slow

ClientOf = Callable[[User | None], APIClient]
URL = "/api/cloud/uploads"
ZIP = make_zip()


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def send(browser: APIClient, data: bytes = ZIP, name: str = "toys.zip", **fields: str) -> Any:
    return browser.post(URL, {"file": SimpleUploadedFile(name, data), **fields}, format="multipart")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def upload(client_of: ClientOf, alice: User) -> DatasetUpload:
    assert send(client_of(alice)).status_code == 201
    return DatasetUpload.objects.get()


@pytest.mark.django_db
class TestTakingIn:
    @pytest.mark.parametrize(("kind", "data"), [("zip", ZIP), ("tar", make_tar()), ("tar.gz", make_tar("w:gz"))])
    def test_an_archive_is_kept_and_described(
        self, client_of: ClientOf, alice: User, data_dir: Path, kind: str, data: bytes
    ) -> None:
        answer = send(client_of(alice), data, "toys/../my toys\x00.zip")
        assert answer.status_code == 201
        shown = answer.json()["upload"]
        expected = {"kind": kind, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "state": "ready"}
        expected |= {"files": 2, "unpacked_size": 19, "organization": "acme", "uploaded_by": "alice"}
        assert shown | expected == shown
        assert (shown["progress"], shown["transfers"]) == (None, [])
        assert [path.read_bytes() for path in files_in(data_dir)] == [data]
        assert client_of(alice).get(f"{URL}/{shown['id']}").json() == answer.json()
        assert client_of(alice).get(URL).json() == {"uploads": [shown], "total": 1}

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"no archive", "not a zip, tar or tar.gz"),
            (make_tar(files={"../a": b"x"}), "outside of the archive's folder"),
            (b"", "empty"),
        ],
    )
    def test_what_is_no_archive_leaves_nothing(
        self, client_of: ClientOf, alice: User, data_dir: Path, data: bytes, text: str
    ) -> None:
        answer = send(client_of(alice), data)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert text in answer.json()["errors"]["file"][0]
        assert not DatasetUpload.objects.exists()
        assert files_in(data_dir) == []

    def test_one_byte_too_many_is_a_413(
        self, client_of: ClientOf, alice: User, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.datasets.upload_handler.UPLOAD_LIMIT_BYTES", len(ZIP))
        assert send(client_of(alice)).status_code == 201
        answer = send(client_of(alice), ZIP + b"x")
        assert answer.status_code == 413
        assert answer.json()["detail"] == "A dataset may have at most 100,000,000 bytes."
        assert answer.json()["code"] == "too_large"
        assert len(files_in(data_dir)) == 1

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({}, "file"),
            ({"file": "a text"}, "file"),
            ({"picture": SimpleUploadedFile("a.zip", ZIP)}, "picture"),
            ({"file": SimpleUploadedFile("a.zip", ZIP), "size": "12"}, "size"),
            ({"file": SimpleUploadedFile("a.zip", ZIP), "organization": "other"}, "organization"),
            ({"file": [SimpleUploadedFile("a.zip", ZIP), SimpleUploadedFile("b.zip", ZIP)]}, "file"),
        ],
        ids=["nothing", "text", "another field", "an unknown field", "a foreign organization", "two files"],
    )
    def test_a_wrong_form_is_refused_by_field(
        self, client_of: ClientOf, alice: User, data_dir: Path, fields: dict[str, Any], named: str
    ) -> None:
        Organization.objects.create(name="other")
        answer = client_of(alice).post(URL, fields, format="multipart")
        assert (answer.status_code, list(answer.json()["errors"])) == (400, [named])
        assert files_in(data_dir) == []

    def test_json_is_no_form(self, client_of: ClientOf, alice: User) -> None:
        assert client_of(alice).post(URL, {"file": "x"}).status_code == 415

    def test_a_request_without_a_body_is_refused_by_field(self, client_of: ClientOf, alice: User) -> None:
        answer = client_of(alice).post(URL)
        assert (answer.status_code, set(answer.json()["errors"])) == (400, {"file"})

    def test_a_viewer_and_nobody_may_not_upload(self, client_of: ClientOf, acme: Organization, data_dir: Path) -> None:
        viewer = User.objects.create_user("vic")
        Membership.objects.create(user=viewer, organization=acme, role=Role.VIEWER)
        assert send(client_of(viewer)).status_code == 403
        assert send(client_of(None)).status_code in (401, 403)
        assert files_in(data_dir) == []

    def test_a_browser_needs_its_token(self, alice: User, data_dir: Path) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)
        assert browser.post(URL, {"file": SimpleUploadedFile("a.zip", ZIP)}).status_code == 403
        assert files_in(data_dir) == []
        token = "a" * 32
        browser.cookies["csrftoken"] = token
        sent = browser.post(URL, {"file": SimpleUploadedFile("a.zip", ZIP)}, headers={"X-CSRFToken": token})
        assert sent.status_code == 201


@pytest.mark.django_db
class TestTheirOwnPeople:
    def test_a_stranger_finds_nothing(self, client_of: ClientOf, upload: DatasetUpload, charlie: User) -> None:
        browser = client_of(charlie)
        assert browser.get(f"{URL}/{upload.pk}").status_code == 404
        assert browser.delete(f"{URL}/{upload.pk}").status_code == 404
        assert browser.get(f"{URL}/no%00thing").status_code == 404
        assert browser.get(URL).json() == {"uploads": [], "total": 0}
        body = {"config": {"max_train_steps": 1}, "dataset": upload.pk}
        answer = browser.post("/api/cloud/jobs/submit", body)
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["dataset"])
        assert not Job.objects.exists()

    @pytest.mark.parametrize(("offset", "status"), [(2**53, 200), (2**64, 400)])
    def test_the_list_goes_on_as_far_as_the_database_counts(
        self, client_of: ClientOf, alice: User, offset: int, status: int
    ) -> None:
        assert client_of(alice).get(f"{URL}?offset={offset}").status_code == status

    def test_a_colleague_sees_it_and_may_not_remove_it(
        self, client_of: ClientOf, upload: DatasetUpload, acme: Organization
    ) -> None:
        colleague = User.objects.create_user("carol")
        Membership.objects.create(user=colleague, organization=acme, role=Role.RESEARCHER)
        browser = client_of(colleague)
        assert browser.get(f"{URL}/{upload.pk}").status_code == 200
        assert browser.delete(f"{URL}/{upload.pk}").status_code == 403
        assert browser.get(URL).json()["total"] == 0

    def test_its_owner_removes_it_once(
        self, client_of: ClientOf, upload: DatasetUpload, alice: User, data_dir: Path, committed: None
    ) -> None:
        browser = client_of(alice)
        answer = browser.delete(f"{URL}/{upload.pk}")
        assert answer.json() == {"success": True, "id": upload.pk}
        assert browser.delete(f"{URL}/{upload.pk}").status_code == 404
        assert browser.get(URL).json()["total"] == 0

    def test_one_that_a_job_uses_stays(
        self, client_of: ClientOf, upload: DatasetUpload, bob: User, make_job: Callable[..., Job], data_dir: Path
    ) -> None:
        job = make_job(dataset=upload)
        answer = client_of(bob).delete(f"{URL}/{upload.pk}")
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
        Job.objects.filter(pk=job.pk).update(status=JobStatus.FAILED, completed_at=timezone.now())
        assert client_of(bob).delete(f"{URL}/{upload.pk}").status_code == 200


@pytest.mark.django_db
class TestSubmitting:
    def submit(self, browser: APIClient, **fields: Any) -> Any:
        return browser.post("/api/cloud/jobs/submit", {"config": {"max_train_steps": 1}, **fields})

    def test_a_job_has_its_dataset(self, client_of: ClientOf, upload: DatasetUpload, alice: User) -> None:
        browser = client_of(alice)
        first = self.submit(browser, dataset=upload.pk.upper(), idempotency_key="k")
        assert first.status_code == 201
        assert Job.objects.get().dataset == upload
        assert self.submit(browser, dataset=upload.pk, idempotency_key="k").json()["idempotent_hit"]
        assert self.submit(browser, idempotency_key="k").status_code == 409

    def test_a_dry_run_checks_it_too(self, client_of: ClientOf, upload: DatasetUpload, alice: User) -> None:
        assert self.submit(client_of(alice), dataset=upload.pk, dry_run=True).json()["dry_run"]
        for other in ("01nothing", "no\x00thing"):
            answer = self.submit(client_of(alice), dataset=other, dry_run=True)
            assert (answer.status_code, list(answer.json()["errors"])) == (400, ["dataset"])
        assert not Job.objects.exists()

    def test_another_organization_of_ones_own_does_not_have_it(
        self, client_of: ClientOf, upload: DatasetUpload, alice: User
    ) -> None:
        second = Organization.objects.create(name="second")
        Membership.objects.create(user=alice, organization=second, role=Role.RESEARCHER)
        answer = self.submit(client_of(alice), dataset=upload.pk, organization="second")
        assert "second has no dataset" in answer.json()["errors"]["dataset"][0]

    def test_a_retry_has_it_while_it_is_there(
        self, client_of: ClientOf, upload: DatasetUpload, alice: User, make_job: Callable[..., Job]
    ) -> None:
        failed = make_job(dataset=upload, status=JobStatus.FAILED)
        assert client_of(alice).post(f"/api/cloud/jobs/{failed.pk}/retry").status_code == 201
        retried = Job.objects.get(retry_of=failed)
        assert retried.dataset == upload
        Job.objects.filter(pk=retried.pk).update(status=JobStatus.FAILED, completed_at=timezone.now())
        assert store.remove(upload)
        answer = client_of(alice).post(f"/api/cloud/jobs/{failed.pk}/retry")
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["dataset"])


def status_of(ask: Callable[..., Any], *arguments: Any) -> int:
    return int(ask(*arguments).status_code)


@pytest.mark.django_db(transaction=True)
def test_of_a_removal_and_a_submission_at_once_one_wins(client_of: ClientOf, alice: User, acme: Organization) -> None:
    body = {"config": {"max_train_steps": 1}}
    for _ in range(5):
        upload_id = send(client_of(alice)).json()["upload"]["id"]
        submitted, removed = at_once(
            partial(status_of, client_of(alice).post, "/api/cloud/jobs/submit", {**body, "dataset": upload_id}),
            partial(status_of, client_of(alice).delete, f"{URL}/{upload_id}"),
        )
        assert (submitted, removed) in [(201, 409), (400, 200), (409, 200)]
        assert Job.objects.filter(dataset=upload_id).exists() is (submitted == 201)
        assert store.path_of(DatasetUpload(pk=upload_id)).exists() is (submitted == 201)


@pytest.mark.django_db
class TestSweep:
    def age(self, **fields: Any) -> None:
        DatasetUpload.objects.update(last_used_at=timezone.now() - timedelta(days=8), **fields)

    def test_what_nobody_used_for_a_week_goes(
        self, upload: DatasetUpload, data_dir: Path, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            assert remove_old(timezone.now())["uploads"] == 0
            self.age()
            assert remove_old(timezone.now())["uploads"] == 1
        assert files_in(data_dir) == []
        assert not store.visible_uploads(upload.uploaded_by).exists()

    def test_what_a_waiting_job_uses_stays(
        self, upload: DatasetUpload, data_dir: Path, make_job: Callable[..., Job]
    ) -> None:
        make_job(dataset=upload)
        self.age()
        assert remove_old(timezone.now())["uploads"] == 0
        assert len(files_in(data_dir)) == 1

    def test_leftovers_go_when_they_are_old(self, upload: DatasetUpload, data_dir: Path) -> None:
        left = [data_dir / "uploads" / "incoming" / "cut-off", data_dir / "uploads" / "without-a-row"]
        for path in left:
            path.write_bytes(b"x")
        assert store.sweep() == 0
        for path in (*left, store.path_of(upload)):
            os.utime(path, (time.time() - 100_000,) * 2)
        assert store.sweep() == 2
        assert files_in(data_dir) == [store.path_of(upload)]

    def test_what_was_unpacked_goes_with_the_end_of_its_training(
        self, upload: DatasetUpload, data_dir: Path, make_job: Callable[..., Job]
    ) -> None:
        trains = make_job(dataset=upload, status=JobStatus.RUNNING)
        ended = make_job(dataset=upload, status=JobStatus.COMPLETED)
        for job in (trains, ended):
            (data_dir / "jobs" / job.pk / "dataset").mkdir(parents=True)
            (data_dir / "jobs" / job.pk / "dataset" / "a").touch()
        store.sweep()
        assert [path.name for path in (data_dir / "jobs").glob("*/dataset/..")] == [".."]
        assert (data_dir / "jobs" / trains.pk / "dataset" / "a").exists()


def raw_request(url: str, head: str, body: Iterator[bytes]) -> tuple[bytes, int]:
    """The whole answer to a request sent by hand, and how many bytes of the body went out before it came."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(f"{head}\r\nHost: {address.netloc}\r\n\r\n".encode())
        sent = 0
        for piece in body:
            connection.sendall(piece)
            sent += len(piece)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer, sent


class TestTheServer:
    def test_a_real_upload_arrives_whole(self, web_server: str, alice: User, data_dir: Path) -> None:
        data = make_zip({"noise.bin": os.urandom(3_500_000)})
        cookies = {**session_cookies(alice), "csrftoken": "a" * 32}
        with httpx.Client(base_url=web_server, cookies=cookies, timeout=30) as client:
            headers = {"X-CSRFToken": "a" * 32}
            answer = client.post(URL, files={"file": ("noise.zip", data)}, headers=headers)
            assert answer.status_code == 201, answer.text
            assert answer.json()["upload"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert [path.read_bytes() for path in files_in(data_dir)] == [data]

    def test_too_much_is_answered_before_it_has_arrived(self, web_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        head = f"POST {URL} HTTP/1.1\r\nX-Correlation-ID: too-much\r\nExpect: 100-continue"
        monkeypatch.setattr(body_limit, "LINGER_SECONDS", 0.1)
        answer, _ = raw_request(web_server, f"{head}\r\nContent-Length: 200000000", iter(()))
        top, _, body = answer.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 413 ")
        assert b"x-correlation-id: too-much" in top
        assert json.loads(body) == {
            "detail": "A dataset may have at most 100,000,000 bytes.",
            "code": "too_large",
            "correlation_id": "too-much",
        }

    def test_an_id_that_cannot_be_used_is_replaced_there_too(
        self, web_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        head = f"POST {URL} HTTP/1.1\r\nX-Correlation-ID: too much\r\nExpect: 100-continue"
        monkeypatch.setattr(body_limit, "LINGER_SECONDS", 0.1)
        answer, _ = raw_request(web_server, f"{head}\r\nContent-Length: 200000000", iter(()))
        assert re.search(rb"x-correlation-id: [0-9a-f]{12}\r\n", answer)
        assert "Correlation id replaced" in [record.getMessage() for record in caplog.records]

    def test_a_body_of_unknown_length_is_ended_at_the_limit(
        self, web_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits: Registry[RequestLimit] = Registry()
        limits.register(URL, RequestLimit(100_000, "Enough."))
        monkeypatch.setattr(body_limit, "request_limits", limits)
        piece = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        head = f"POST {URL} HTTP/1.1\r\nTransfer-Encoding: chunked"
        answer, sent = raw_request(web_server, head, iter([piece] * 20 + [b"0\r\n\r\n"]))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert sent > 600_000  # it was let finish, so that it reads the answer
