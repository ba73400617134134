"""Handing jobs to their provider, whatever the provider or a crash does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.models import Job, JobEvent
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.dispatch import prepare
from queueing.models import QueueEntry, QueueState
from queueing.recorder import Accepted, record
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


def state() -> tuple[str, str]:
    return Job.objects.get().status, QueueEntry.objects.get().status


def expire_leases() -> None:
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def refusal(**fields: bool) -> ProviderError:
    return ProviderError("connection refused", nothing_created=True, **fields)


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


def test_a_job_cancelled_between_claim_and_call_is_not_submitted(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    lifecycle.request_cancel(Job.objects.get(), actor=SYSTEM, source=Source.API)
    assert not dispatch.dispatch(entry)
    assert scripted.specs == []
    assert state() == (JobStatus.CANCELLED, EntryStatus.CANCELLED)


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
    assert (kept.status, kept.last_error) == ("dispatching", "there is no provider 'gone' any more")
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
    assert QueueEntry.objects.get().last_error == f"it could not be looked for: {word}"


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


def test_a_provider_that_is_taken_away_between_claim_and_call_leaves_the_job_waiting(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue()
    (claimed,) = claims.claim_next()
    monkeypatch.setattr(providers, "_PROVIDERS", {})
    assert not dispatch.dispatch(claimed)
    assert state() == (JobStatus.PENDING, EntryStatus.PENDING)
    assert QueueEntry.objects.get().last_error == "There is no provider 'scripted' any more."


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
        enqueue()
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
