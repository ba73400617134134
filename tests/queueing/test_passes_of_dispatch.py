"""A pass: how many it calls at once, when it claims again, and what it settles of claims that were left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.models import Job
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch, extensions
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


@pytest.fixture(autouse=True)
def roomy(db: None) -> None:
    """No limit but those that a test sets."""
    limits = {"max_running": 50, "max_running_per_user": 50, "max_running_per_organization": 50}
    QueueState.objects.update_or_create(pk=1, defaults=limits)


def register_providers(monkeypatch: pytest.MonkeyPatch, **by_name: ScriptedProvider) -> None:
    monkeypatch.setattr(providers, "_PROVIDERS", {name: lambda one=one: one for name, one in by_name.items()})
    monkeypatch.setattr(claims, "_paused_until", {})


def abandon(**fields: Any) -> None:
    """All claims, whose holders have died."""
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1), **fields)


def entry_statuses() -> list[str]:
    return list(QueueEntry.objects.order_by("id").values_list("status", flat=True))


@dataclass
class CountingProvider(ScriptedProvider):
    """Counts how many submissions are open at once, and what it is asked for."""

    open: int = 0
    most: int = 0
    searches: list[list[str]] = field(default_factory=list)

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        self.open += 1
        self.most = max(self.most, self.open)
        for _ in range(20):
            await asyncio.sleep(0)
        self.open -= 1
        return await super().submit(spec)

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        self.searches.append(list(markers))
        return await super().find_by_marker(self.searches[-1])


def test_no_more_calls_are_open_at_once_than_allowed(enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = CountingProvider()
    register_providers(monkeypatch, scripted=provider)
    monkeypatch.setattr(dispatch, "MAX_CONCURRENT_CALLS", 4)
    for _ in range(12):
        enqueue()
    assert dispatch.run_pass() == 12
    assert 2 <= provider.most <= 4


def test_a_pass_claims_nothing_more_when_its_time_is_over(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PASS_SECONDS", 0.0)
    enqueue()
    assert dispatch.run_pass() == 0
    assert entry_statuses() == ["pending"]


@dataclass
class LateRefusal(ScriptedProvider):
    """Refuses its first submission as soon as it may."""

    may_refuse: Callable[[], bool] = bool

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        answer = await super().submit(spec)
        if len(self.specs) > 1:
            return answer
        while not self.may_refuse():
            await asyncio.sleep(0)
        raise ProviderError("no", permanent=True, nothing_created=True)


def test_a_slot_that_a_late_refusal_frees_is_used_in_the_same_pass(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_next, claimed = claims.claim_next, list[int]()

    def claim(at_most: int) -> list[QueueEntry]:
        entries = claim_next(at_most)
        claimed.append(len(entries))
        return entries

    register_providers(monkeypatch, scripted=LateRefusal(may_refuse=lambda: 0 in claimed))
    monkeypatch.setattr(claims, "claim_next", claim)
    QueueState.objects.update(max_running=2)
    enqueue(), enqueue(), enqueue()
    assert dispatch.run_pass() == 2
    assert sorted(entry_statuses()) == ["failed", "running", "running"]
    assert claimed[:3] == [2, 0, 1]


def test_a_job_that_is_cancelled_while_it_is_claimed_is_no_error(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue()
    claim_next = claims.claim_next

    def claim_and_lose(at_most: int) -> list[QueueEntry]:
        claimed = claim_next(at_most)
        for entry in claimed:
            lifecycle.request_cancel(Job.objects.get(pk=entry.job_id), actor=SYSTEM, source=Source.API)
        return claimed

    monkeypatch.setattr(claims, "claim_next", claim_and_lose)
    assert dispatch.run_pass() == 0
    assert (scripted.specs, entry_statuses()) == ([], ["cancelled"])
    assert "Dispatch failed" not in caplog.text


def test_a_job_that_a_guard_selects_is_checked_by_it_in_a_pass_too(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded, free = enqueue().job, enqueue().job
    monkeypatch.setattr(extensions, "guarded_jobs", lambda job_ids: {guarded.pk})
    monkeypatch.setattr(extensions, "guards_allow", lambda entry, job: job.pk != guarded.pk)
    assert dispatch.run_pass() == 1
    assert [spec.job_id for spec in scripted.specs] == [free.pk]
    assert Job.objects.get(pk=guarded.pk).submission_marker is None


def test_a_job_whose_secrets_cannot_be_opened_fails_at_once(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue(sealed="not what was sealed")
    assert dispatch.run_pass() == 0
    assert (scripted.specs, entry_statuses(), Job.objects.get().status) == ([], ["failed"], "failed")


class TestWithdrawing:
    """A job that may not be submitted any more, at the very moment when it was to be."""

    @pytest.fixture
    def meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Change the job's row between its last reading and the marker."""

        def change(**fields: Any) -> None:
            begin = lifecycle.begin_submission

            def late(job: Job) -> bool:
                Job.objects.filter(pk=job.pk).update(**fields)
                return begin(job)

            monkeypatch.setattr(lifecycle, "begin_submission", late)

        return change

    def dispatched(self, enqueue: Enqueue) -> bool:
        enqueue()
        (entry,) = claims.claim_next()
        return dispatch.dispatch(entry)

    def test_one_that_runs_by_a_webhook_keeps_its_slot(
        self, enqueue: Enqueue, scripted: ScriptedProvider, meanwhile: Callable[..., None]
    ) -> None:
        meanwhile(status=JobStatus.RUNNING, external_id="x-1", submission_marker="ct-1")
        assert not self.dispatched(enqueue)
        assert (scripted.specs, entry_statuses()) == ([], ["running"])
        assert Job.objects.get().status == JobStatus.RUNNING

    def test_one_whose_cancel_was_noted_ends_cancelled(
        self, enqueue: Enqueue, scripted: ScriptedProvider, meanwhile: Callable[..., None]
    ) -> None:
        meanwhile(cancel_requested_at=timezone.now())
        assert not self.dispatched(enqueue)
        assert (scripted.specs, entry_statuses()) == ([], ["cancelled"])
        assert Job.objects.get().status == JobStatus.CANCELLED

    @pytest.mark.parametrize("external_id", [None, "x-1"])
    def test_one_that_has_ended_frees_its_slot(
        self,
        enqueue: Enqueue,
        scripted: ScriptedProvider,
        meanwhile: Callable[..., None],
        external_id: str | None,
    ) -> None:
        meanwhile(status=JobStatus.FAILED, completed_at=timezone.now(), external_id=external_id)
        assert not self.dispatched(enqueue)
        assert (scripted.specs, entry_statuses()) == ([], ["failed"])


class TestEndingUnsubmitted:
    def test_a_job_that_has_a_training_keeps_its_entry(self, enqueue: Enqueue, scripted: ScriptedProvider) -> None:
        stale = enqueue().job
        (entry,) = claims.claim_next()
        assert lifecycle.mark_submitted(Job.objects.get(), Snapshot("x-1", JobStatus.QUEUED), actor=SYSTEM)
        ended = dispatch.end_unsubmitted(entry, stale, JobStatus.FAILED, "no", actor=SYSTEM, source=Source.API)
        assert (ended, entry_statuses(), Job.objects.get().status) == (False, ["dispatching"], "queued")

    def test_job_and_entry_end_together_or_not_at_all(
        self, enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = enqueue().job
        (entry,) = claims.claim_next()

        def crash(*args: Any, **kwargs: Any) -> bool:
            raise RuntimeError("a bug")

        monkeypatch.setattr(claims, "end", crash)
        with pytest.raises(RuntimeError):
            dispatch.end_unsubmitted(entry, job, JobStatus.FAILED, "no", actor=SYSTEM, source=Source.API)
        assert (entry_statuses(), Job.objects.get().status) == (["dispatching"], "pending")


class TestSettling:
    def test_each_provider_is_asked_once_for_all_its_trainings(
        self, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = CountingProvider(), CountingProvider()
        register_providers(monkeypatch, first=first, second=second)
        for number in range(4):
            marker = {"submission_marker": f"ct-{number}", "submission_started_at": timezone.now()}
            enqueue(provider="second" if number % 2 else "first", **marker)
        claims.claim_next()
        abandon()
        assert dispatch.settle_abandoned() == 0
        assert [[sorted(markers) for markers in one.searches] for one in (first, second)] == [
            [["ct-0", "ct-2"]],
            [["ct-1", "ct-3"]],
        ]

    def test_the_longest_abandoned_is_searched_for_first(
        self, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider = CountingProvider()
        register_providers(monkeypatch, scripted=provider)
        monkeypatch.setattr(dispatch, "MAX_SEARCHES_PER_PASS", 1)
        for number in range(3):
            enqueue(submission_marker=f"ct-{number}", submission_started_at=timezone.now())
        claims.claim_next()
        abandon()
        last = QueueEntry.objects.filter(job__submission_marker="ct-2")
        last.update(lease_until=timezone.now() - timedelta(minutes=5))
        dispatch.settle_abandoned()
        assert provider.searches == [["ct-2"]]

    def test_what_was_never_called_for_is_not_searched_for(
        self, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider = CountingProvider()
        register_providers(monkeypatch, scripted=provider)
        enqueue()
        claims.claim_next()
        abandon()
        assert dispatch.settle_abandoned() == 0
        assert (provider.searches, entry_statuses()) == ([], ["pending"])

    def test_one_in_transfer_and_one_that_is_held_are_left_alone(
        self, enqueue: Enqueue, scripted: ScriptedProvider
    ) -> None:
        held, staging = enqueue(), enqueue()
        claims.claim_next()
        abandon()
        QueueEntry.objects.filter(pk=held.pk).update(lease_until=timezone.now() + timedelta(minutes=1))
        QueueEntry.objects.filter(pk=staging.pk).update(staging_since=timezone.now())
        before = list(QueueEntry.objects.order_by("id").values())
        assert dispatch.settle_abandoned() == 0
        assert list(QueueEntry.objects.order_by("id").values()) == before

    @pytest.mark.parametrize(("bound", "host"), [(False, "elsewhere"), (False, None), (True, None)])
    def test_any_machine_takes_over_what_is_not_bound_to_another(
        self, enqueue: Enqueue, scripted: ScriptedProvider, bound: bool, host: str | None
    ) -> None:
        scripted.bound_to_machine = bound
        scripted.lose_answers = 1
        enqueue()
        dispatch.run_pass()
        abandon(claimed_on=host or socket.gethostname())
        assert dispatch.settle_abandoned() == 1
        assert entry_statuses() == ["running"]

    def test_the_other_machine_has_ten_minutes_from_the_submission_on(
        self, enqueue: Enqueue, scripted: ScriptedProvider
    ) -> None:
        scripted.bound_to_machine = True
        for minutes in (9, 11):
            started = timezone.now() - timedelta(minutes=minutes)
            enqueue(submission_marker=f"ct-{minutes}", submission_started_at=started)
        claims.claim_next()
        abandon(claimed_on="elsewhere", dispatched_at=timezone.now() - timedelta(minutes=30))
        dispatch.settle_abandoned()
        assert entry_statuses() == [EntryStatus.DISPATCHING, EntryStatus.FAILED]
