"""Transfers that change hands: killed machines, lost leases, archives that are elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.datasets import store
from jobs.models import DatasetUpload, Job, JobEvent
from jobs.providers.datasets import DatasetTransfer, TransferProgress
from jobs.statuses import JobStatus
from queueing import claims, dispatch, staging, transfers
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider
from tests.queueing.transfers.carrier import GOES, UPLOADING, Carrier, again, state

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


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
        assert "archive no longer exists" in job.error_message

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
        assert job.error_message == "Scripted accepts no datasets."
        assert scripted.specs == []


def test_a_claim_that_was_lost_begins_nothing(enqueue: Enqueue, carrier: Carrier, upload: DatasetUpload) -> None:
    enqueue(provider="carrier", dataset=upload)
    (entry,) = claims.claim_next()
    QueueEntry.objects.update(claim_token="another")
    assert not dispatch.dispatch(entry)
    assert Job.objects.get().status == JobStatus.PENDING
    assert not JobEvent.objects.filter(new=JobStatus.UPLOADING).exists()
