"""Transfers that break: each is begun again or given up, and no training is lost or made twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from jobs.models import Job
from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, TransferProgress
from jobs.statuses import JobStatus
from queueing import recorder, transfers
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.queueing.transfers.carrier import GOES, UPLOADING, Carrier, Step, again, state, until_stopped

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


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
    assert "made no progress" in QueueEntry.objects.get().last_error


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
