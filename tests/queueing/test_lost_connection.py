"""A connection to the database that is lost in the middle of a dispatch: nothing is doubled, and no slot waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import OperationalError, connection

from cloudtrain_site.database.connections import repeat_when_lost
from cloudtrain_site.database.failures import is_lost_connection
from jobs import providers
from jobs.models import Job, JobEvent
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch, recorder, staging
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.lost_connections import cut_connection, own_backend
from tests.providers import ScriptedProvider

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

Enqueue = Callable[..., QueueEntry]


@dataclass
class CuttingProvider(ScriptedProvider):
    """Cuts the dispatcher's connection while it is asked to submit, as often as `cuts` says."""

    cuts: int = 1
    backends: list[int] = field(default_factory=list)

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        try:
            return await super().submit(spec)
        finally:
            if self.cuts:
                self.cuts -= 1
                cut_connection(self.backends[-1])


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> CuttingProvider:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connections that are lost")
    provider = CuttingProvider(backends=[own_backend()])
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "scripted": lambda: provider})
    return provider


def states() -> set[tuple[str, str]]:
    return set(QueueEntry.objects.values_list("job__status", "status"))


def test_what_a_provider_took_is_recorded_within_a_second(enqueue: Enqueue, cutting: CuttingProvider) -> None:
    enqueue()
    began = time.monotonic()
    assert dispatch.run_pass() == 1
    assert time.monotonic() - began < 1
    assert states() == {(JobStatus.QUEUED, EntryStatus.RUNNING)}
    assert Job.objects.get().external_id == "x-1"
    assert (len(cutting.specs), JobEvent.objects.filter(subject="job", new=JobStatus.QUEUED).count()) == (1, 1)
    assert own_backend() != cutting.backends[0]


def test_of_many_at_once_too(enqueue: Enqueue, cutting: CuttingProvider) -> None:
    for _ in range(8):
        enqueue()
    assert dispatch.run_pass() == 2  # the limit of one user
    running = QueueEntry.objects.filter(status=EntryStatus.RUNNING)
    assert running.count() == 2 == len(cutting.specs)
    assert not QueueEntry.objects.filter(status=EntryStatus.DISPATCHING).exists()


def test_a_refusal_frees_the_slot_too(enqueue: Enqueue, cutting: CuttingProvider) -> None:
    cutting.refusals = [ProviderError("connection refused", nothing_created=True)]
    enqueue()
    dispatch.run_pass()
    assert states() == {(JobStatus.PENDING, EntryStatus.PENDING)}


def cut_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have the first call of a function commit, and then lose its connection before it can say so."""
    function, calls = getattr(module, name), iter([True])

    def call(*args: Any) -> Any:
        answer = function(*args)
        if next(calls, False):
            cut_connection(own_backend())
            own_backend()
        return answer

    monkeypatch.setattr(module, name, call)


def test_a_claim_whose_answer_was_lost_is_taken_up(
    enqueue: Enqueue, cutting: CuttingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting.cuts = 0
    enqueue()
    cut_after(monkeypatch, claims, "_claim_next")
    assert dispatch.run_pass() == 1
    assert states() == {(JobStatus.QUEUED, EntryStatus.RUNNING)}
    assert QueueEntry.objects.get().attempts == 1


def test_a_record_whose_answer_was_lost_is_made_once(
    enqueue: Enqueue, cutting: CuttingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting.cuts = 0
    enqueue()
    cut_after(monkeypatch, recorder, "_record")
    dispatch.run_pass()
    assert states() == {(JobStatus.QUEUED, EntryStatus.RUNNING)}
    assert Job.objects.count() == 1
    assert JobEvent.objects.filter(subject="job", new=JobStatus.QUEUED).count() == 1


def test_a_failing_claim_lets_the_calls_under_way_be_recorded(
    enqueue: Enqueue, cutting: CuttingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting.cuts = 0
    for _ in range(2):
        enqueue()
    claim, calls = claims.claim_next, iter([True])

    def claim_once(at_most: int) -> list[QueueEntry]:
        if next(calls, False):
            return claim(1)
        raise OperationalError("no more")

    monkeypatch.setattr(claims, "claim_next", claim_once)
    with pytest.raises(OperationalError, match="no more"):
        dispatch.run_pass()
    assert QueueEntry.objects.filter(status=EntryStatus.RUNNING).count() == 1


def test_staging_that_began_with_a_lost_answer_goes_on(enqueue: Enqueue, cutting: CuttingProvider) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    assert staging.begin(entry, Job.objects.get())
    assert staging.begin(entry, Job.objects.get())
    assert states() == {(JobStatus.UPLOADING, EntryStatus.DISPATCHING)}
    QueueEntry.objects.update(claim_token="another")
    assert not staging.begin(entry, Job.objects.get())


class TestRepeating:
    def test_other_errors_are_raised_at_once(self, cutting: CuttingProvider) -> None:
        calls: list[int] = []

        def fail() -> None:
            calls.append(1)
            raise ValueError("ours")

        with pytest.raises(ValueError, match="ours"):
            repeat_when_lost(fail)
        assert calls == [1]

    def test_nothing_is_repeated_within_a_transaction(self, cutting: CuttingProvider) -> None:
        from django.db import transaction

        calls: list[int] = []

        def fail() -> None:
            calls.append(1)
            cut_connection(own_backend())
            own_backend()

        with pytest.raises(OperationalError) as error, transaction.atomic():
            repeat_when_lost(fail)
        assert is_lost_connection(error.value)
        assert calls == [1]
