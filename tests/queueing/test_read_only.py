"""A database that takes no writes while a provider answers: what it said is recorded as soon as it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection

from jobs import providers
from jobs.models import Job
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider
from tests.wait import wait_until

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]

Enqueue = Callable[..., QueueEntry]


def set_read_only(value: bool) -> None:
    """Have this thread's connection alone refuse writes: the one that repeats them has its own."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA query_only = {int(value)}")


class LockingProvider(ScriptedProvider):
    """By its answer, the database takes no writes of the dispatcher any more."""

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        try:
            return await super().submit(spec)
        finally:
            await sync_to_async(set_read_only)(True)


@pytest.fixture
def locking(monkeypatch: pytest.MonkeyPatch) -> Iterator[LockingProvider]:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's connections are all of one database")
    provider = LockingProvider()
    monkeypatch.setattr(claims, "_paused_until", {})
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "scripted": lambda: provider})
    yield provider
    set_read_only(False)


def run_pass() -> None:
    """Run one, which ends when it can claim nothing more."""
    with pytest.raises(OperationalError, match="readonly"):
        dispatch.run_pass()


def states() -> set[tuple[str, str]]:
    return set(QueueEntry.objects.values_list("job__status", "status"))


def test_what_a_provider_took_is_recorded(enqueue: Enqueue, locking: LockingProvider) -> None:
    enqueue()
    run_pass()
    wait_until(lambda: states() == {(JobStatus.QUEUED, EntryStatus.RUNNING)})
    assert (len(locking.specs), Job.objects.get().external_id) == (1, "x-1")


def test_so_is_what_it_refused(enqueue: Enqueue, locking: LockingProvider) -> None:
    locking.refusals = [ProviderError("no such model", permanent=True, nothing_created=True)]
    enqueue()
    run_pass()
    wait_until(lambda: states() == {(JobStatus.FAILED, EntryStatus.FAILED)})
    assert Job.objects.get().error_message == "no such model"


def test_a_job_that_could_not_be_prepared_waits_again(
    enqueue: Enqueue, locking: LockingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue()
    claim = claims.claim_next

    def claim_and_lock(at_most: int) -> list[QueueEntry]:
        entries = claim(at_most)
        set_read_only(True)
        return entries

    monkeypatch.setattr(claims, "claim_next", claim_and_lock)
    run_pass()
    wait_until(lambda: states() == {(JobStatus.PENDING, EntryStatus.PENDING)})
    assert locking.specs == []
    assert "could not be written to" in QueueEntry.objects.get().last_error
