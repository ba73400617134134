"""Handing jobs to their provider, whatever the provider or a crash does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.models import Job, JobEvent
from jobs.providers.base import Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.dispatch import prepare
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider
from tests.queueing.entries import expire_leases, refusal, state

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


def test_a_pass_hands_the_job_over(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    assert dispatch.run_pass() == 1
    assert state() == (JobStatus.QUEUED, EntryStatus.RUNNING)
    job = Job.objects.get()
    assert job.external_id == "x-1"
    assert scripted.specs[0].marker == job.submission_marker


def test_nothing_waits_nothing_goes(db: None, scripted: ScriptedProvider) -> None:
    assert dispatch.run_pass() == 0


def test_a_held_job_never_reaches_the_provider(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue(held=True)
    dispatch.run_pass()
    assert scripted.specs == []
    assert state() == (JobStatus.PENDING, EntryStatus.BLOCKED)


def test_a_refusal_that_made_nothing_is_tried_again_and_then_fails(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    scripted.refusals = [refusal(), refusal(), refusal()]
    enqueue()
    for _ in range(3):
        dispatch.run_pass()
        QueueEntry.objects.update(not_before=None)
    assert state() == (JobStatus.FAILED, EntryStatus.FAILED)
    assert Job.objects.get().error_message == "connection refused"
    assert len(scripted.specs) == 3


def test_a_permanent_refusal_fails_at_once(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.refusals = [refusal(permanent=True)]
    enqueue()
    dispatch.run_pass()
    assert state() == (JobStatus.FAILED, EntryStatus.FAILED)


def test_a_job_cancelled_between_claim_and_call_is_not_submitted(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    lifecycle.request_cancel(Job.objects.get(), actor=SYSTEM, source=Source.API)
    assert not dispatch.dispatch(entry)
    assert scripted.specs == []
    assert state() == (JobStatus.CANCELLED, EntryStatus.CANCELLED)


def test_what_cannot_be_prepared_together_is_prepared_one_by_one(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(jobs: Any) -> set[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(lifecycle, "begin_submissions", crash)
    enqueue(), enqueue()
    assert dispatch.run_pass() == 2
    assert "Dispatch could not be prepared" in caplog.text
    assert len({spec.marker for spec in scripted.specs}) == 2


def test_an_end_that_the_provider_overtook_is_none(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    """Job and entry end together or not at all, and by the claim's holder alone."""
    enqueue()
    (entry,) = claims.claim_next()
    job = Job.objects.get()

    def end(claim: QueueEntry) -> bool:
        return dispatch.end_unsubmitted(claim, job, JobStatus.FAILED, "no", actor=SYSTEM, source=Source.API)

    expire_leases()
    taken = QueueEntry.objects.get()
    assert claims.reclaim(taken)
    assert not end(entry)
    assert state() == (JobStatus.PENDING, EntryStatus.DISPATCHING)
    assert claims.confirm(taken)
    assert not end(QueueEntry.objects.get())
    assert state() == (JobStatus.PENDING, EntryStatus.RUNNING)


def test_the_holder_of_a_claim_ends_job_and_entry(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    job = Job.objects.get()
    assert dispatch.end_unsubmitted(entry, job, JobStatus.FAILED, "no", actor=SYSTEM, source=Source.API)
    assert state() == (JobStatus.FAILED, EntryStatus.FAILED)
    assert not dispatch.end_unsubmitted(entry, job, JobStatus.FAILED, "no", actor=SYSTEM, source=Source.API)


def test_one_entrys_surprise_does_not_stop_the_others(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.refusals = [RuntimeError("a bug")]
    enqueue(), enqueue()
    assert dispatch.run_pass() == 1


def test_a_slot_that_a_lost_signal_left_taken_is_freed_by_the_next_pass(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    enqueue()
    dispatch.run_pass()
    lifecycle.apply_snapshot(Job.objects.get(), Snapshot("x-1", JobStatus.COMPLETED), source=Source.POLL)
    assert QueueEntry.objects.get().status == EntryStatus.RUNNING
    dispatch.run_pass()
    assert QueueEntry.objects.get().status == EntryStatus.COMPLETED


class GatedProvider(ScriptedProvider):
    """Its first submission is answered only after the second one's."""

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        answer = await super().submit(spec)
        if len(self.specs) == 1:
            self.gate = asyncio.Event()
            await self.gate.wait()
        else:
            self.gate.set()
        return answer


def test_a_slow_answer_holds_up_nobody_else(enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = GatedProvider()
    monkeypatch.setattr(providers, "_PROVIDERS", {"scripted": lambda: provider})
    enqueue(), enqueue()
    assert dispatch.run_pass() == 2


def test_a_provider_that_is_taken_away_between_claim_and_call_leaves_the_job_waiting(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue()
    (claimed,) = claims.claim_next()
    monkeypatch.setattr(providers, "_PROVIDERS", {})
    assert not dispatch.dispatch(claimed)
    assert state() == (JobStatus.PENDING, EntryStatus.PENDING)
    assert QueueEntry.objects.get().last_error == "There is no provider “scripted” any more."


def test_of_those_made_ready_together_the_cancelled_one_is_left_out(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    cancelled, other = enqueue(), enqueue()
    entries = claims.claim_next()
    lifecycle.request_cancel(cancelled.job, actor=SYSTEM, source=Source.API)
    assert list(prepare(entries)) == [other.pk]
    assert Job.objects.get(pk=cancelled.job_id).submission_marker is None
    assert prepare(entries) == {}, "both were made ready, or must not be"


class RepeatingProvider(ScriptedProvider):
    """Calls two trainings by one name, which can't be taken down."""

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        await super().submit(spec)
        return Snapshot("the same", JobStatus.QUEUED)


def test_an_answer_that_cannot_be_taken_down_takes_no_other_along(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "_PROVIDERS", {"scripted": RepeatingProvider})
    enqueue(), enqueue()
    assert dispatch.run_pass() == 1
    statuses = QueueEntry.objects.order_by("status").values_list("status", flat=True)
    assert list(statuses) == [EntryStatus.DISPATCHING, EntryStatus.RUNNING]


def test_the_answers_of_many_are_taken_down_with_few_statements(
    enqueue: Enqueue, scripted: ScriptedProvider, django_assert_max_num_queries: Any
) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 20, "max_running_per_user": 20})
    QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_organization": 20})
    for _ in range(20):
        enqueue(estimated_cost_usd=Decimal(1))
    # Of one user, so that it takes five claims; one by one it would be over 300.
    with django_assert_max_num_queries(200):
        assert dispatch.run_pass() == 20


def test_each_is_on_record_under_the_name_of_its_own_submission(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    for name in ("first", "second"):
        enqueue(correlation_id=name)
    dispatch.run_pass()
    for name in ("first", "second"):
        names = JobEvent.objects.filter(job__correlation_id=name, source=Source.DISPATCHER)
        assert set(names.values_list("correlation_id", flat=True)) == {name}
        assert names.count() == 3, "claimed, accepted, and the slot taken"
