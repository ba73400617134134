"""For any sequence of claims, polls, prices, ends, cancels, corrections and months the ledger agrees with the jobs."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from django_eventstream.models import Event
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.costs import ledger
from jobs.costs.verification import verify
from jobs.models import Job, JobAccount, Organization, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from jobs.sync.apply import SnapshotBatch
from queueing import claims
from queueing.budgets import watch
from queueing.budgets.sums import states
from queueing.models import Budget, BudgetNotice, QueueEntry, QueueState
from tests import factories
from tests.providers import ScriptedProvider

BUDGET = Decimal(100)
CENTS = st.integers(1, 6000).map(lambda cents: Decimal(cents) / 100)


def part_of(job: Job, percent: int) -> Decimal:
    return (job.estimated_cost_usd or Decimal(0)) * percent / 100


class Clock:
    """The real one, moved on by the days that passed in an example."""

    def __init__(self) -> None:
        self.passed = timedelta()
        self._now = timezone.now

    def __call__(self) -> datetime:
        return self._now() + self.passed


CLOCK = Clock()


class Crash(BaseException):
    """The process dies here."""


def die(*_: Any, **__: Any) -> None:
    raise Crash


class Money(RuleBasedStateMachine):
    """Jobs of one organization with a budget that only holds. Some cost more than was thought."""

    def __init__(self) -> None:
        super().__init__()
        CLOCK.passed = timedelta()
        self._undone = transaction.atomic()
        self._undone.__enter__()
        QueueState.objects.create(pk=1, max_running=100, max_running_per_user=100, max_running_per_organization=100)
        self.organization = Organization.objects.create(name="acme")
        self.user = factories.make_user("alice", self.organization)
        self.budget = Budget.objects.create(scope="organization", organization=self.organization, amount=BUDGET)
        self.config = ProviderConfig.objects.create(name="scripted", cost_per_second={"gpu": 0.01})
        self.made = 0

    def teardown(self) -> None:
        """Leave an empty database to the next example."""
        transaction.set_rollback(True)
        self._undone.__exit__(None, None, None)

    def _jobs(self, *statuses: str) -> list[Job]:
        return list(Job.objects.filter(status__in=statuses).order_by("pk"))

    def _poll(self, job: Job, status: JobStatus, cost: Decimal | None, **more: Any) -> None:
        batch = SnapshotBatch({job.pk: job}, self.config, Source.POLL)
        batch.apply({job.pk: Snapshot(job.external_id or "", status, cost_usd=cost, **more)})
        assert not batch.failed
        job.refresh_from_db()
        if job.is_terminal:
            claims.end(job)

    @rule(cost=CENTS | st.none())
    def submit(self, cost: Decimal | None) -> None:
        job = factories.make_job(
            organization=self.organization,
            submitted_by=self.user,
            provider="scripted",
            hardware_profile="gpu",
            estimated_cost_usd=cost,
        )
        claims.enqueue(job, role=None, held=False, actor=SYSTEM, source=Source.API)

    @rule(is_refused=st.booleans())
    def claim(self, is_refused: bool) -> None:
        for entry in claims.claim_next():
            if is_refused:
                assert claims.requeue(entry, "refused")
                QueueEntry.objects.update(not_before=None)
                continue
            self.made += 1
            began = timezone.now() - timedelta(hours=30)
            snapshot = Snapshot(f"x-{self.made}", JobStatus.RUNNING, started_at=began)
            assert lifecycle.mark_submitted(entry.job, snapshot, actor=SYSTEM)
            assert claims.confirm(entry)

    @precondition(lambda self: self._jobs("running"))
    @rule(data=st.data(), share=st.integers(0, 130), is_late=st.booleans())
    def poll(self, data: Any, share: int, is_late: bool) -> None:
        job = data.draw(st.sampled_from(self._jobs("running")))
        if is_late:
            JobAccount.objects.filter(job=job).update(counted_until=timezone.now() - timedelta(days=2))
        self._poll(job, JobStatus.RUNNING, part_of(job, share))

    @precondition(lambda self: self._jobs("running"))
    @rule(data=st.data(), share=st.integers(0, 130), to=st.sampled_from(["completed", "failed", "cancelled"]))
    def end(self, data: Any, share: int, to: str) -> None:
        job = data.draw(st.sampled_from(self._jobs("running")))
        self._poll(job, JobStatus(to), part_of(job, share))

    @precondition(lambda self: self._jobs("running"))
    @rule(data=st.data())
    def end_without_a_known_cost(self, data: Any) -> None:
        job = data.draw(st.sampled_from(self._jobs("running")))
        self._poll(job, JobStatus.FAILED, None, hardware="unheard-of", completed_at=timezone.now())

    @precondition(lambda self: self._jobs("completed", "failed"))
    @rule(data=st.data())
    def tell_later_that_it_was_free(self, data: Any) -> None:
        job = data.draw(st.sampled_from(self._jobs("completed", "failed")))
        self._poll(job, JobStatus(job.status), Decimal(0))

    @precondition(lambda self: self._jobs("pending"))
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        job = data.draw(st.sampled_from(self._jobs("pending")))
        assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
        claims.end(job)

    @rule(price=st.sampled_from([{}, {"gpu": 0.01}, {"gpu": 0.5}, {"gpu": 0}]))
    def change_the_price(self, price: dict[str, float]) -> None:
        self.config.cost_per_second = price
        self.config.save()

    @precondition(lambda self: self._jobs("running"))
    @rule(data=st.data())
    def crash_before_the_commit(self, data: Any) -> None:
        job = data.draw(st.sampled_from(self._jobs("running")))
        with pytest.raises(KeyboardInterrupt), unit_of_work():
            Job.objects.filter(pk=job.pk).update(cost_usd=9999)
            job.cost_usd = Decimal(9999)
            ledger.count([job])
            raise KeyboardInterrupt

    @precondition(lambda _: CLOCK.passed < timedelta(days=300))
    @rule(days=st.sampled_from([1, 8, 31]))
    def days_pass(self, days: int) -> None:
        CLOCK.passed += timedelta(days=days)

    @rule()
    def watch(self) -> None:
        watch.watch()

    @rule()
    def crash_while_it_is_told(self) -> None:
        with pytest.MonkeyPatch.context() as patch, suppress(Crash):
            patch.setattr(watch, "publish", die)
            watch.watch()

    @invariant()
    def the_ledger_agrees(self) -> None:
        assert [str(difference) for difference in verify().differences] == []

    @invariant()
    def nothing_is_held_for_what_waits_or_has_ended(self) -> None:
        assert not JobAccount.objects.exclude(held=0).exclude(job__status="running").exists()

    @invariant()
    def no_more_is_committed_than_the_budget_and_what_jobs_cost_beyond_their_estimates(self) -> None:
        beyond = sum(
            (
                max(job.cost_usd - job.estimated_cost_usd, Decimal(0))
                for job in Job.objects.all()
                if job.estimated_cost_usd
            ),
            Decimal(0),
        )
        for state in states(Budget.objects.all()):
            assert state.committed <= BUDGET + beyond

    @invariant()
    def each_threshold_is_told_once(self) -> None:
        reached = list(BudgetNotice.objects.values_list("period_start", "threshold"))
        assert len(reached) == len(set(reached))
        events = [json.loads(data) for data in Event.objects.values_list("data", flat=True) if watch.THRESHOLD in data]
        assert len({(event["message"].partition(":")[0], event["percent"]) for event in events}) == len(events)
        assert len(events) == len(reached)
        mailed = [threshold for _, threshold in reached if threshold is None or threshold >= watch.NOTICE_FROM]
        assert Notice.objects.filter(kind=watch.THRESHOLD).count() == len(mailed)


@pytest.mark.slow
@pytest.mark.django_db
def test_the_ledger_agrees_with_the_jobs_after_any_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedProvider()
    monkeypatch.setattr(timezone, "now", CLOCK)
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "scripted": lambda: scripted})
    run_state_machine_as_test(
        Money, settings=settings(max_examples=10, stateful_step_count=15, suppress_health_check=list(HealthCheck))
    )
