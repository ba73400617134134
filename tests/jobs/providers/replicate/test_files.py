"""Datasets of jobs at Replicate: sent, kept for the next job, sent again when they expire, and never half-way paid."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.states import SYSTEM, Source
from examples.fake_replicate import FakeReplicate
from jobs import lifecycle
from jobs.datasets import store
from jobs.models import DatasetCopy, DatasetUpload, Job, Organization, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, StoppedError, TransferProgress
from jobs.providers.replicate.provider import ReplicateProvider
from jobs.statuses import JobStatus
from queueing import claims, dispatch, transfers
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.dataset_archives import make_zip
from tests.jobs.providers.local.trainings import until
from tests.queueing.entries import dispatch_a_lease_later, enqueue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    # A stopped transfer ends with its event loop; its socket, with what was not sent yet, goes a little later.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
#: More than the buffers between two sockets of one machine swallow.
LARGE = 10_000_000


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """What a stopped transfer leaves goes with its own test, not with whichever comes later."""
    yield
    gc.collect()


@pytest.fixture
def upload(alice: User, acme: Organization, settings: Any, tmp_path: Path) -> DatasetUpload:
    settings.DATA_DIR = tmp_path
    return keep(alice, acme, make_zip())


def keep(user: User, organization: Organization, data: bytes) -> DatasetUpload:
    store.incoming_folder().mkdir(parents=True, exist_ok=True)
    path = store.incoming_folder() / "arrived"
    path.write_bytes(data)
    received = store.Received(path, "toys.zip", len(data), hashlib.sha256(data).hexdigest())
    return store.store_upload(received, user=user, organization=organization)


@pytest.fixture
def submit(
    fake: FakeReplicate, replicate_config: ProviderConfig, make_job: Callable[..., Job]
) -> Callable[[DatasetUpload], Job]:
    """A job with a dataset, as a pass leaves it."""

    def make(upload: DatasetUpload) -> Job:
        job = make_job(provider="replicate", hardware_profile="h100", dataset=upload)
        enqueue(job)
        dispatch.run_pass()
        job.refresh_from_db()
        assert job.status == JobStatus.UPLOADING
        return job

    return make


Submit = Callable[[DatasetUpload], Job]


def state(job: Job) -> tuple[str, str]:
    job.refresh_from_db()
    return job.status, QueueEntry.objects.get(job=job).status


def again() -> int:
    claims._paused_until.clear()
    QueueEntry.objects.filter(status=EntryStatus.PENDING).update(not_before=None)
    dispatch_a_lease_later()
    return transfers.run()


def test_the_prediction_is_told_where_its_dataset_is(
    submit: Submit, upload: DatasetUpload, fake: FakeReplicate, client_of: Callable[[User], APIClient], alice: User
) -> None:
    job = submit(upload)
    assert len(fake.predictions) == 0
    assert transfers.run() == 1
    (made,), (file,) = fake.predictions, fake.files.current()
    assert made.input["images"] == f"{fake.url}/v1/files/{file.id}"
    assert fake.files.content(made.input["images"], fake.url) == make_zip()
    assert (file.name, file.content_type) == ("dataset.zip", "application/zip")
    assert state(job) == (JobStatus.QUEUED, EntryStatus.RUNNING)
    shown = client_of(alice).get(f"/api/cloud/uploads/{upload.pk}").json()["upload"]
    assert (shown["state"], shown["progress"]) == ("uploaded", 100.0)
    (transfer,) = shown["transfers"]
    assert transfer["expires_at"] is not None
    assert {"provider": "replicate", "complete": True, "sent_bytes": upload.size}.items() <= transfer.items()


def test_a_file_that_still_lives_is_used_again(submit: Submit, upload: DatasetUpload, fake: FakeReplicate) -> None:
    submit(upload), submit(upload)
    assert transfers.run() == 2
    assert len(fake.files) == 1
    assert len({made.input["images"] for made in fake.predictions}) == 1


def expire(fake: FakeReplicate) -> None:
    fake.age(90_000)


def expire_soon(fake: FakeReplicate) -> None:
    DatasetCopy.objects.update(expires_at=timezone.now() + timedelta(minutes=5))


def lose(fake: FakeReplicate) -> None:
    fake.call(fake.files.delete, fake.files.current()[0].id)


@pytest.mark.parametrize("happens", [expire, expire_soon, lose])
def test_a_file_that_will_not_do_is_sent_again(
    submit: Submit, upload: DatasetUpload, fake: FakeReplicate, happens: Callable[[FakeReplicate], None]
) -> None:
    submit(upload)
    transfers.run()
    happens(fake)
    submit(upload)
    transfers.run()
    first, second = fake.predictions
    assert first.input["images"] != second.input["images"]
    assert fake.files.content(second.input["images"], fake.url) == make_zip()


def test_what_replicate_refuses_for_good_fails_the_job(
    submit: Submit, upload: DatasetUpload, fake: FakeReplicate
) -> None:
    fake.faults.file_limit = 10
    job = submit(upload)
    transfers.run()
    assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)
    assert "Files must be less than 100MB in size" in job.error_message
    assert len(fake.predictions) == 0


@pytest.mark.parametrize("fault", ["server_error", "drop", "garbage", "throttle"])
def test_a_transfer_that_breaks_is_begun_again(
    submit: Submit, upload: DatasetUpload, fake: FakeReplicate, fault: str
) -> None:
    fake.faults.add(fault, method="POST", path="files", times=1, seconds=0.01, after=fault == "garbage")
    job = submit(upload)
    assert transfers.run() == 0
    assert state(job) == (JobStatus.UPLOADING, EntryStatus.PENDING)
    assert again() == 1
    assert len(fake.predictions.marked(job.submission_marker or "")) == 1


def test_a_changed_file_is_not_taken_for_ours(submit: Submit, upload: DatasetUpload, fake: FakeReplicate) -> None:
    DatasetUpload.objects.update(sha256="0" * 64)
    job = submit(upload)
    transfers.run()
    assert state(job) == (JobStatus.UPLOADING, EntryStatus.PENDING)
    assert "is not the dataset that was sent" in QueueEntry.objects.get().last_error


@pytest.fixture
def large(upload: DatasetUpload, alice: User, acme: Organization, fake: FakeReplicate) -> DatasetUpload:
    """A dataset that takes minutes to send."""
    fake.faults.upload_bytes_per_second = 400_000
    return keep(alice, acme, make_zip({"noise": os.urandom(LARGE)}))


@pytest.mark.slow
def test_a_cancel_in_the_middle_leaves_no_prediction(
    submit: Submit, large: DatasetUpload, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "PROGRESS_SECONDS", 0.02)
    job, beat = submit(large), transfers._record_progress
    seen: list[float] = []

    def beat_and_cancel(entry: QueueEntry, progress: TransferProgress, text: str) -> bool:
        goes_on = beat(entry, progress, text)
        if progress.done and not seen:
            seen.append(Job.objects.get(pk=job.pk).progress or 0)
            lifecycle.request_cancel(Job.objects.get(pk=job.pk), actor=SYSTEM, source=Source.API)
        return goes_on

    monkeypatch.setattr(transfers, "_record_progress", beat_and_cancel)
    assert transfers.run() == 0
    assert 0 < seen[0] < 99
    assert state(job) == (JobStatus.CANCELLED, EntryStatus.CANCELLED)
    assert again() == 0
    assert (len(fake.predictions), len(fake.files)) == (0, 0)


@pytest.fixture
def elsewhere(settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that brings what there is to bring."""
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if connection.vendor == "postgresql":
        url = f"postgres://{database['USER']}:unused@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    code = "import django; django.setup(); from queueing import transfers\nwhile True: transfers.run()"
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "cloudtrain_site.settings"}
    environment |= {"SIMPLETUNER_DATA_DIR": str(settings.DATA_DIR), "SIMPLETUNER_LOG_LEVEL": "CRITICAL"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_killed_in_the_middle_it_is_begun_again_and_paid_once(
    submit: Submit, large: DatasetUpload, fake: FakeReplicate, elsewhere: subprocess.Popen[bytes]
) -> None:
    job = submit(large)
    until(lambda: (Job.objects.get(pk=job.pk).progress or 0) > 0)
    elsewhere.kill()
    elsewhere.wait()
    assert (len(fake.predictions), len(fake.files)) == (0, 0)
    assert transfers.run() == 0  # its lease is not over yet
    fake.faults.upload_bytes_per_second = 0
    assert again() == 1
    assert len(fake.predictions) == len(fake.files) == 1
    assert state(job) == (JobStatus.QUEUED, EntryStatus.RUNNING)


def make_transfer(tmp_path: Path, **fields: Any) -> DatasetTransfer:
    path = tmp_path / "archive"
    path.write_bytes(make_zip())
    digest = hashlib.sha256(make_zip()).hexdigest()
    values = {"name": "a", "kind": "zip", "size": len(make_zip()), "unpacked_size": 19, "sha256": digest, **fields}
    return DatasetTransfer("j", path, **values)


def stage(transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
    return asyncio.run(ReplicateProvider.from_settings().stage(transfer, progress))


class TestTheProviderItself:
    def test_asks_nobody_about_a_file_that_has_expired(self, fake: FakeReplicate, tmp_path: Path) -> None:
        old = RemoteCopy("f", f"{fake.url}/v1/files/f", timezone.now() - timedelta(seconds=1))
        copy = stage(make_transfer(tmp_path, copy=old), TransferProgress(1))
        assert copy.external_id != "f"
        assert [request.method for request in fake.requests] == ["POST"]

    def test_says_when_it_cannot_ask(self, fake: FakeReplicate, tmp_path: Path) -> None:
        old = RemoteCopy("f", f"{fake.url}/v1/files/f")
        fake.faults.add("unauthenticated")
        with pytest.raises(ProviderError, match="401"):
            stage(make_transfer(tmp_path, copy=old), TransferProgress(1))

    def test_stops_when_it_is_told_to(self, fake: FakeReplicate, tmp_path: Path) -> None:
        progress = TransferProgress(1)
        progress.stop()
        with pytest.raises(StoppedError):
            stage(make_transfer(tmp_path), progress)
        assert len(fake.files) == 0

    def test_needs_a_reachable_replicate(self, fake: FakeReplicate, tmp_path: Path) -> None:
        with fake.outage(), pytest.raises(ProviderError, match="could not be reached"):
            stage(make_transfer(tmp_path), TransferProgress(1))


def test_a_file_needs_its_part_to_be_called_content(fake: FakeReplicate) -> None:
    with fake.client() as http:
        answer = http.post("/files", files={"file": ("a.zip", make_zip())})
        assert (answer.status_code, answer.json()["invalid_fields"][0]["description"]) == (422, "content is required")
        assert isinstance(http, httpx.Client)
