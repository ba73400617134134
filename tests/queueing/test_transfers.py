"""Datasets on their way: whatever happens to them, no training is asked for before they are there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import OperationalError
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.datasets import store
from jobs.models import DatasetCopy, DatasetUpload, Job, JobEvent, Organization
from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.statuses import JobStatus
from queueing import claims, dispatch, recorder, staging, transfers
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.dataset_archives import make_zip
from tests.providers import ScriptedProvider

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]
Step = Callable[[DatasetTransfer, TransferProgress], Awaitable[None]]


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


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> Carrier:
    carrier = Carrier()
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "carrier": lambda: carrier})
    monkeypatch.setattr(transfers, "PROGRESS_SECONDS", 0.005)
    return carrier


@pytest.fixture
def upload(alice: User, acme: Organization, settings: Any, tmp_path: Path) -> DatasetUpload:
    """Two pictures of alice's, on this machine."""
    settings.DATA_DIR = tmp_path
    path = tmp_path / "arrived"
    path.write_bytes(make_zip())
    store.folder().mkdir()
    received = store.Received(path, "toys.zip", path.stat().st_size, "0" * 64)
    return store.store_upload(received, user=alice, organization=acme)


@pytest.fixture
def submit(enqueue: Enqueue, carrier: Carrier, upload: DatasetUpload) -> Callable[[], Job]:
    """A job with the dataset, as a pass leaves it: uploading."""

    def make() -> Job:
        entry = enqueue(provider="carrier", dataset=upload)
        assert dispatch.run_pass() == 0
        return entry.job

    return make


def state(job: Job) -> tuple[str, str]:
    job.refresh_from_db()
    return job.status, QueueEntry.objects.get(job=job).status


UPLOADING = (JobStatus.UPLOADING, EntryStatus.DISPATCHING)
GOES = (JobStatus.QUEUED, EntryStatus.RUNNING)


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


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await sync_to_async(condition)():
            await asyncio.sleep(0.001)


def test_the_training_is_asked_for_when_its_dataset_is_there(
    submit: Callable[[], Job], carrier: Carrier, upload: DatasetUpload
) -> None:
    job = submit()
    assert state(job) == UPLOADING
    assert (job.stage, job.progress, job.submission_marker, carrier.specs) == ("Carrying dataset", 0.0, None, [])
    assert transfers.run() == 1
    assert state(job) == GOES
    (transfer,), (spec,) = carrier.transfers, carrier.specs
    assert (transfer.path.read_bytes(), transfer.size, transfer.kind) == (make_zip(), upload.size, "zip")
    assert (spec.dataset, spec.marker) == ("https://carrier/f-1", job.submission_marker)
    assert (job.stage, job.progress, job.last_log) == (None, None, None)
    assert list(job.events.filter(subject="job").values_list("new", flat=True)) == ["uploading", "queued"]
    assert transfers.run() == 0


def test_a_dataset_of_a_job_whose_provider_is_no_more_goes_nowhere_and_the_job_says_why(
    enqueue: Enqueue, upload: DatasetUpload, carrier: Carrier
) -> None:
    job = enqueue(provider="gone", dataset=upload).job
    dispatch.run_pass()
    assert transfers.run() == 0
    assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)
    assert "There is no provider 'gone' any more." in (job.error_message or "")
    assert carrier.transfers == []


def test_a_job_without_a_dataset_goes_at_once(enqueue: Enqueue, carrier: Carrier) -> None:
    enqueue(provider="carrier")
    assert dispatch.run_pass() == 1
    assert carrier.specs[0].dataset == ""


def test_everybody_sees_how_far_it_is(submit: Callable[[], Job], carrier: Carrier, upload: DatasetUpload) -> None:
    job = submit()

    async def half(transfer: DatasetTransfer, progress: TransferProgress) -> None:
        progress.advance(transfer.size // 2)
        await until(lambda: Job.objects.filter(pk=job.pk, progress__range=(45, 55)).exists())
        copy = await DatasetCopy.objects.aget()
        assert 0 < copy.sent_bytes < transfer.size
        assert copy.address == ""

    carrier.steps = [half]
    transfers.run()
    assert state(job) == GOES
    copy = DatasetCopy.objects.get()
    assert (copy.sent_bytes, copy.address, copy.external_id) == (upload.size, "https://carrier/f-1", "f-1")


def test_on_this_machine_it_is_unpacked_for_its_job_alone(enqueue: Enqueue, upload: DatasetUpload) -> None:
    job = enqueue(provider="local", dataset=upload, dataloader_config=[{"dir": "{dataset}/pictures"}]).job
    dispatch.run_pass()
    assert state(job) == UPLOADING
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.providers.local.provider.LocalProvider._launch", lambda *_: (None, "not in this test"))
        transfers.run()
    folder = store.folder().parent / "jobs" / job.pk
    assert (folder / "dataset" / "pictures" / "one.txt").read_bytes() == b"a red toy"
    assert json.loads((folder / "dataloader.json").read_text()) == [{"dir": f"{folder}/dataset/pictures"}]
    assert not DatasetCopy.objects.exists()
    assert "not in this test" in QueueEntry.objects.get().last_error


def test_a_second_job_hears_what_the_provider_has(submit: Callable[[], Job], carrier: Carrier) -> None:
    submit(), submit()
    assert transfers.run() == 2
    first, second = carrier.transfers
    assert first.copy is None
    assert second.copy == RemoteCopy("f-1", "https://carrier/f-1")


def test_a_job_cancelled_on_the_way_is_never_asked_for(
    submit: Callable[[], Job], carrier: Carrier, alice: User
) -> None:
    job = submit()

    async def cancelled(transfer: DatasetTransfer, progress: TransferProgress) -> None:
        progress.advance(1)
        mine = await Job.objects.aget(pk=job.pk)
        assert await sync_to_async(lifecycle.request_cancel)(mine, actor=SYSTEM, source=Source.API)
        await until_stopped(transfer, progress)

    carrier.steps = [cancelled]
    assert transfers.run() == 0
    assert state(job) == (JobStatus.CANCELLED, EntryStatus.CANCELLED)
    assert carrier.specs == []
    assert not DatasetCopy.objects.exists()
    assert again() == 0


@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_job_cancelled_before_its_transfer_begins_is_not_carried(
    submit: Callable[[], Job], carrier: Carrier, is_fresh: bool
) -> None:
    job = submit()
    if is_fresh:
        job.refresh_from_db()
    assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    assert (job.status == JobStatus.CANCELLED) is is_fresh
    assert again() == 0
    assert state(job) == (JobStatus.CANCELLED, EntryStatus.CANCELLED)
    assert (carrier.transfers, carrier.specs) == ([], [])


def test_a_cancel_that_was_only_noted_ends_the_transfer_too(submit: Callable[[], Job], carrier: Carrier) -> None:
    job = submit()
    # As it is when an attempt before this one has got as far as the provider.
    Job.objects.update(
        submission_marker="ct-0", submission_started_at=timezone.now(), cancel_requested_at=timezone.now()
    )
    carrier.steps = [until_stopped]
    transfers.run()
    assert state(job) == (JobStatus.CANCELLED, EntryStatus.CANCELLED)
    assert carrier.specs == []


def refuse(error: Exception) -> Step:
    async def step(transfer: DatasetTransfer, progress: TransferProgress) -> None:
        progress.advance(1)
        raise error

    return step


@pytest.mark.parametrize("error", [ProviderError("it broke"), RuntimeError("it broke")], ids=["said", "unexpected"])
def test_a_transfer_that_broke_is_begun_again_and_then_given_up(
    submit: Callable[[], Job], carrier: Carrier, error: Exception
) -> None:
    carrier.steps = [refuse(error), refuse(error), refuse(error)]
    job = submit()
    transfers.run()
    assert state(job) == (JobStatus.UPLOADING, EntryStatus.PENDING)
    again()
    assert state(job) == (JobStatus.UPLOADING, EntryStatus.PENDING)
    again()
    assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)
    assert "it broke" in job.error_message
    assert carrier.specs == []


def test_a_transfer_that_broke_once_goes_on(submit: Callable[[], Job], carrier: Carrier) -> None:
    carrier.steps = [refuse(ProviderError("it broke"))]
    job = submit()
    transfers.run()
    assert again() == 1
    assert state(job) == GOES


def test_a_permanent_refusal_fails_at_once(submit: Callable[[], Job], carrier: Carrier) -> None:
    carrier.steps = [refuse(ProviderError("too large", permanent=True))]
    job = submit()
    transfers.run()
    assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)


def test_a_transfer_that_does_not_move_is_given_up(
    submit: Callable[[], Job], carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "STALL_SECONDS", 0.02)
    carrier.steps = [until_stopped]
    job = submit()
    transfers.run()
    assert state(job) == (JobStatus.UPLOADING, EntryStatus.PENDING)
    assert "did not move" in QueueEntry.objects.get().last_error


def test_a_refused_submission_carries_it_again(submit: Callable[[], Job], carrier: Carrier) -> None:
    carrier.refusals = [ProviderError("throttled", nothing_created=True)]
    job = submit()
    assert transfers.run() == 0
    assert state(job) == (JobStatus.UPLOADING, EntryStatus.PENDING)
    assert again() == 1
    assert [spec.marker for spec in carrier.specs] == [job.submission_marker] * 2
    assert state(job) == GOES


def test_a_lost_answer_is_adopted_and_not_repeated(submit: Callable[[], Job], carrier: Carrier) -> None:
    carrier.lose_answers = 1
    job = submit()
    transfers.run()
    assert again() == 0
    assert state(job) == GOES
    assert len(carrier.specs) == len(carrier.transfers) == 1


def test_a_training_that_could_not_be_recorded_is_adopted_too(
    submit: Callable[[], Job], carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("database or disk is full")

    job = submit()
    with monkeypatch.context() as patched:
        patched.setattr(recorder, "_record", fail)
        assert transfers.run() == 0
    assert state(job) == UPLOADING
    assert again() == 0
    assert state(job) == GOES
    assert len(carrier.specs) == len(carrier.transfers) == 1


def test_nobody_is_asked_to_decide_since_the_transfer_took_long(submit: Callable[[], Job], carrier: Carrier) -> None:
    carrier.lose_answers = 1
    submit()
    QueueEntry.objects.update(dispatched_at=timezone.now() - timedelta(minutes=11))
    transfers.run()
    entry = QueueEntry.objects.get()
    assert entry.unconfirmed_at is None
    assert entry.lease_until is not None
    assert entry.lease_until < timezone.now() + timedelta(minutes=1)


def test_what_a_killed_machine_was_carrying_is_begun_again(submit: Callable[[], Job], carrier: Carrier) -> None:
    job = submit()
    (entry,) = staging.waiting()
    assert staging.claim_staging(entry)
    # Its holder is killed here. Nobody takes it up before its lease is over, and then from the beginning.
    dispatch.run_pass()
    assert transfers.run() == 0
    assert state(job) == UPLOADING
    assert again() == 1
    assert state(job) == GOES
    assert QueueEntry.objects.get().attempts == 1


def test_one_of_two_machines_takes_it(submit: Callable[[], Job]) -> None:
    submit()
    (entry,), (same,) = staging.waiting(), staging.waiting()
    assert staging.claim_staging(entry)
    assert not staging.claim_staging(same)


def test_a_lease_is_renewed_by_its_holder_alone(submit: Callable[[], Job]) -> None:
    submit()
    (entry,) = staging.waiting()
    staging.claim_staging(entry)
    entry.lease_until = timezone.now() + timedelta(seconds=3)
    QueueEntry.objects.update(lease_until=entry.lease_until)
    assert staging.renew(entry)
    assert QueueEntry.objects.get().lease_until == entry.lease_until > timezone.now() + timedelta(seconds=20)
    QueueEntry.objects.update(claim_token="another")
    entry.lease_until = timezone.now()
    assert not staging.renew(entry)
    assert not staging.end(entry)


def test_a_holder_that_lost_its_claim_asks_for_nothing(submit: Callable[[], Job], carrier: Carrier) -> None:
    job = submit()

    async def lost(transfer: DatasetTransfer, progress: TransferProgress) -> None:
        later = timezone.now() + timedelta(minutes=1)
        await QueueEntry.objects.aupdate(claim_token="another", lease_until=later)

    carrier.steps = [lost]
    assert transfers.run() == 0
    assert state(job) == UPLOADING
    assert carrier.specs == []


class TestTheArchive:
    def test_is_gone_from_the_machine_that_had_it(
        self, submit: Callable[[], Job], carrier: Carrier, upload: DatasetUpload
    ) -> None:
        store.path_of(upload).unlink()
        job = submit()
        transfers.run()
        assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)
        assert "archive is gone" in job.error_message

    def test_is_on_another_machine_for_a_while(
        self, submit: Callable[[], Job], carrier: Carrier, upload: DatasetUpload
    ) -> None:
        store.path_of(upload).unlink()
        DatasetUpload.objects.update(stored_on="another-machine")
        job = submit()
        assert transfers.run() == 0
        assert state(job) == UPLOADING
        QueueEntry.objects.update(lease_until=timezone.now() - timedelta(minutes=11))
        transfers.run()
        assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)

    def test_is_of_no_use_to_this_provider(
        self, enqueue: Enqueue, scripted: ScriptedProvider, upload: DatasetUpload
    ) -> None:
        job = enqueue(provider="scripted", dataset=upload).job
        dispatch.run_pass()
        transfers.run()
        assert state(job) == (JobStatus.FAILED, EntryStatus.FAILED)
        assert job.error_message == "Scripted takes no datasets."
        assert scripted.specs == []


def test_a_claim_that_was_lost_begins_nothing(enqueue: Enqueue, carrier: Carrier, upload: DatasetUpload) -> None:
    enqueue(provider="carrier", dataset=upload)
    (entry,) = claims.claim_next()
    QueueEntry.objects.update(claim_token="another")
    assert not dispatch.dispatch(entry)
    assert Job.objects.get().status == JobStatus.PENDING
    assert not JobEvent.objects.filter(new=JobStatus.UPLOADING).exists()
