"""For any sequence of claims, polls, price changes, ends, cancels and corrections the ledger agrees with the jobs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cloudtrain_site.database.unit_of_work import unit_of_work
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


class Money(RuleBasedStateMachine):
    """Jobs of one organization with a budget that only holds. No job costs more than was thought."""

    def __init__(self) -> None:
        super().__init__()
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
    @rule(data=st.data(), share=st.integers(0, 100), is_late=st.booleans())
    def poll(self, data: Any, share: int, is_late: bool) -> None:
        job = data.draw(st.sampled_from(self._jobs("running")))
        if is_late:
            JobAccount.objects.filter(job=job).update(counted_until=timezone.now() - timedelta(days=2))
        self._poll(job, JobStatus.RUNNING, part_of(job, share))

    @precondition(lambda self: self._jobs("running"))
    @rule(data=st.data(), share=st.integers(0, 100), to=st.sampled_from(["completed", "failed", "cancelled"]))
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

    @rule()
    def watch(self) -> None:
        watch.watch()

    @invariant()
    def the_ledger_agrees(self) -> None:
        assert [str(difference) for difference in verify().differences] == []

    @invariant()
    def nothing_is_held_for_what_waits_or_has_ended(self) -> None:
        assert not JobAccount.objects.exclude(held=0).exclude(job__status="running").exists()

    @invariant()
    def no_more_is_committed_than_the_budget(self) -> None:
        for state in states(Budget.objects.all()):
            assert state.committed <= BUDGET

    @invariant()
    def each_threshold_is_told_once(self) -> None:
        told = list(BudgetNotice.objects.values_list("period_start", "threshold"))
        assert len(told) == len(set(told))


@pytest.mark.slow
@pytest.mark.django_db
def test_the_ledger_agrees_with_the_jobs_after_any_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedProvider()
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "scripted": lambda: scripted})
    run_state_machine_as_test(
        Money, settings=settings(max_examples=10, stateful_step_count=15, suppress_health_check=list(HealthCheck))
    )
