"""Submissions whose answer was lost: the training is looked for, adopted, or left to a person; never made twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import lifecycle, providers
from jobs.models import Job, JobEvent
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.models import QueueEntry, QueueState
from queueing.recorder import Accepted, record
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider
from tests.queueing.entries import expire_leases, state

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


def test_a_lost_answer_is_never_submitted_again_but_adopted(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.lose_answers = 1
    enqueue()
    dispatch.run_pass()
    assert state() == (JobStatus.PENDING, EntryStatus.DISPATCHING)
    dispatch.run_pass()
    assert len(scripted.specs) == 1, "its lease has not run out"
    expire_leases()
    dispatch.run_pass()
    assert state() == (JobStatus.QUEUED, EntryStatus.RUNNING)
    assert len(scripted.specs) == 1


def test_a_training_that_is_not_found_is_not_submitted_blindly(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.lose_answers = 1
    enqueue()
    dispatch.run_pass()
    scripted.trainings.clear()
    expire_leases()
    dispatch.run_pass()
    assert len(scripted.specs) == 1
    assert state() == (JobStatus.PENDING, EntryStatus.DISPATCHING)


def test_a_provider_that_knows_markers_is_simply_asked_again(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.once_per_marker = True
    enqueue()
    claims.claim_next()
    lifecycle.begin_submission(Job.objects.get())
    expire_leases()
    dispatch.run_pass()
    assert state() == (JobStatus.QUEUED, EntryStatus.RUNNING)


def test_a_dispatcher_that_died_before_the_call_costs_nothing_but_time(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    enqueue()
    claims.claim_next()
    expire_leases()
    dispatch.run_pass()
    QueueEntry.objects.update(not_before=None)
    dispatch.run_pass()
    assert state() == (JobStatus.QUEUED, EntryStatus.RUNNING)
    assert len(scripted.specs) == 1


def test_what_was_claimed_on_another_machine_is_left_to_it(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.bound_to_machine = True
    enqueue()
    claims.claim_next()
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1), claimed_on="elsewhere")
    dispatch.run_pass()
    assert state() == (JobStatus.PENDING, EntryStatus.DISPATCHING)
    QueueEntry.objects.update(dispatched_at=timezone.now() - timedelta(minutes=11))
    dispatch.run_pass()
    assert state() == (JobStatus.FAILED, EntryStatus.FAILED)
    assert "elsewhere stopped" in Job.objects.get().error_message


def test_a_stale_dispatchers_answer_is_dropped_whole(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    job = Job.objects.get()
    lifecycle.begin_submission(job)
    expire_leases()
    claims.reclaim(QueueEntry.objects.get())
    lines = JobEvent.objects.count()
    assert record([Accepted(entry, job, Snapshot("x-9", JobStatus.QUEUED))]) == [False]
    assert state() == (JobStatus.PENDING, EntryStatus.DISPATCHING)
    assert JobEvent.objects.count() == lines


def test_what_is_found_again_is_counted_and_what_is_not_is_not(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.lose_answers = 3
    for _ in range(3):
        enqueue()
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 3, "max_running_per_user": 3})
    assert dispatch.run_pass() == 0
    scripted.trainings = dict(list(scripted.trainings.items())[:2])
    expire_leases()
    assert dispatch.settle_abandoned() == 2
    assert sorted(QueueEntry.objects.values_list("status", flat=True)) == ["dispatching", "running", "running"]
    assert dispatch.settle_abandoned() == 0


def test_a_claim_whose_provider_is_no_more_is_left_to_a_person(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = providers._PROVIDERS
    monkeypatch.setattr(providers, "_PROVIDERS", {**before, "gone": lambda: scripted})
    entry = enqueue(provider="gone", submission_marker="ct-1", submission_started_at=timezone.now())
    other = enqueue()
    claims.claim_next()
    expire_leases()
    monkeypatch.setattr(providers, "_PROVIDERS", before)
    QueueEntry.objects.filter(pk=entry.pk).update(dispatched_at=timezone.now() - timedelta(minutes=11))
    assert dispatch.settle_abandoned() == 0
    kept = QueueEntry.objects.get(pk=entry.pk)
    assert (kept.status, kept.last_error) == ("dispatching", "there is no provider “gone” any more")
    assert kept.unconfirmed_at is not None
    assert Job.objects.get(pk=entry.job_id).status == JobStatus.PENDING
    assert QueueEntry.objects.get(pk=other.pk).status == EntryStatus.PENDING, "the others are settled all the same"


class UnseeingProvider(ScriptedProvider):
    """Can't be asked for its trainings now; at most one training a marker."""

    error: Exception

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "word"), [(ProviderError("bad gateway"), "bad gateway"), (TimeoutError("late"), "late")]
)
@pytest.mark.parametrize("once_per_marker", [True, False])
def test_what_cannot_be_looked_for_is_not_submitted_again(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, error: Exception, word: str, once_per_marker: bool
) -> None:
    provider = UnseeingProvider(once_per_marker=once_per_marker)
    provider.error = error
    monkeypatch.setattr(providers, "_PROVIDERS", {"scripted": lambda: provider})
    enqueue(submission_marker="ct-1", submission_started_at=timezone.now())
    claims.claim_next()
    expire_leases()
    assert dispatch.settle_abandoned() == 0
    assert (provider.specs, state()) == ([], (JobStatus.PENDING, EntryStatus.DISPATCHING))
    assert QueueEntry.objects.get().last_error == f"could not be looked for: {word}"


def test_of_two_who_settle_one_claim_the_later_one_leaves_it(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    for marker in (None, "ct-1"):
        enqueue(submission_marker=marker, submission_started_at=timezone.now())
    claims.claim_next()
    expire_leases()
    stale = list(QueueEntry.objects.select_related("job").order_by("id"))
    for entry in QueueEntry.objects.all():
        assert claims.reclaim(entry)
    before = list(QueueEntry.objects.order_by("id").values())
    assert [dispatch._reclaim_abandoned(entry) for entry in stale] == [False, False]
    assert list(QueueEntry.objects.order_by("id").values()) == before


class SilentProvider(ScriptedProvider):
    """Takes what it gets, and never answers."""

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        await super().submit(spec)
        await asyncio.Event().wait()
        raise AssertionError


def test_what_is_never_answered_is_looked_up(enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = SilentProvider()
    monkeypatch.setattr(providers, "_PROVIDERS", {"scripted": lambda: provider})
    monkeypatch.setattr(dispatch, "CALL_SECONDS", 0.05)
    enqueue()
    assert dispatch.run_pass() == 0
    assert "did not answer" in QueueEntry.objects.get().last_error
    expire_leases()
    dispatch.run_pass()
    assert state() == (JobStatus.QUEUED, EntryStatus.RUNNING)
    assert len(provider.specs) == 1


def test_the_pauses_between_looks_grow(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    pauses = []
    for missed in (0, 20, 300, 700):
        entry.dispatched_at = timezone.now() - timedelta(seconds=missed)
        assert claims.postpone_search(entry, "not there")
        until = QueueEntry.objects.get().lease_until
        assert until is not None
        pauses.append(round((until - timezone.now()).total_seconds()))
    assert pauses == [5, 20, 60, 600]
