"""Datasets on their way: whatever happens to them, no training is asked for before they are there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.datasets import store
from jobs.models import DatasetCopy, DatasetUpload, Job, ProviderConfig
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.statuses import JobStatus
from queueing import dispatch, transfers
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.dataset_archives import make_zip
from tests.queueing.transfers.carrier import GOES, UPLOADING, Carrier, again, state, until_stopped

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
Enqueue = Callable[..., QueueEntry]


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


def test_a_dataset_of_a_job_whose_provider_is_no_more_goes_nowhere_and_the_job_waits(
    submit: Callable[[], Job], carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    with monkeypatch.context() as away:
        away.setattr(providers, "_PROVIDERS", {})
        assert transfers.run() == 0
    assert QueueEntry.objects.get().last_error == "There is no provider “carrier” any more."
    assert (state(job)[1], carrier.transfers) == (EntryStatus.PENDING, [])


def test_a_provider_that_is_switched_off_meanwhile_gets_no_training(
    submit: Callable[[], Job], carrier: Carrier
) -> None:
    job = submit()

    async def switch_off(transfer: DatasetTransfer, progress: TransferProgress) -> None:
        await ProviderConfig.objects.aupdate_or_create(name="carrier", defaults={"enabled": False})

    carrier.steps = [switch_off]
    assert transfers.run() == 0
    assert carrier.specs == []
    assert state(job)[1] == EntryStatus.PENDING
    assert QueueEntry.objects.get().last_error == f"{carrier.label} was switched off"
    QueueEntry.objects.update(not_before=None)
    assert (dispatch.run_pass(), transfers.run()) == (0, 0)
    ProviderConfig.objects.update(enabled=True)
    assert (dispatch.run_pass(), transfers.run()) == (0, 1)
    assert state(job) == GOES
    assert len(carrier.specs) == 1


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
