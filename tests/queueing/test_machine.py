"""Whatever happens in whatever order: no limit is exceeded, nothing is lost, run twice or passed over."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.models import Job, Organization
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.roles import Role
from jobs.statuses import TERMINAL, JobStatus
from queueing import claims, dispatch, operations
from queueing.dispatch import prepare
from queueing.limits import candidate_of, current_limits, current_usage, queue_state
from queueing.models import ProviderLimit, QueueEntry
from queueing.operations import ChangedBy
from queueing.policy import Usage, can_go, choose
from queueing.statuses import LIVE, EntryStatus
from tests import factories
from tests.providers import ScriptedProvider

BY = ChangedBy(SYSTEM, Source.API, "the test")
limit = st.integers(0, 4)


class CountingProvider(ScriptedProvider):
    """Counts the trainings that it starts for each marker: it would start, and bill, a second one."""

    started: Counter[str]

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        before = self.trainings.get(spec.marker)
        try:
            return await super().submit(spec)
        finally:
            self.started[spec.marker] += self.trainings.get(spec.marker) is not before


class Queue(RuleBasedStateMachine):
    """A small queue of two organizations and four people."""

    provider: CountingProvider

    @initialize()
    def begin(self) -> None:
        self.organizations = [Organization.objects.create(name=f"org-{n}") for n in range(2)]
        self.users = [factories.make_user(f"user-{n}", self.organizations[n % 2]) for n in range(4)]

    @rule(number=st.integers(0, 3), role=st.sampled_from(list(Role)), held=st.booleans())
    def submit(self, number: int, role: Role, held: bool) -> None:
        user: User = self.users[number]
        organization = self.organizations[number % 2]
        job = factories.make_job(provider="scripted", organization=organization, submitted_by=user)
        claims.enqueue(job, role=role, held=held, actor=SYSTEM, source=Source.API)

    def pick(self, number: int, *statuses: str) -> QueueEntry | None:
        entries = list(QueueEntry.objects.filter(status__in=statuses).select_related("job").order_by("id"))
        return entries[number % len(entries)] if entries else None

    @rule(number=st.integers(0, 20))
    def release(self, number: int) -> None:
        entry = self.pick(number, EntryStatus.BLOCKED)
        if entry:
            assert claims.release(entry.job, actor=SYSTEM, source=Source.API, reason="fine")

    @rule(number=st.integers(0, 20), to=st.sampled_from(TERMINAL))
    def end(self, number: int, to: JobStatus) -> None:
        entry = self.pick(number, EntryStatus.RUNNING)
        if entry:
            assert lifecycle.finish(entry.job, to, actor=SYSTEM, source=Source.POLL, reason="it ended")
            assert claims.end(entry.job)
            assert not claims.end(entry.job)

    @rule(number=st.integers(0, 20))
    def cancel(self, number: int) -> None:
        entry = self.pick(number, *LIVE)
        if entry:
            lifecycle.request_cancel(entry.job, actor=SYSTEM, source=Source.API)

    @rule(number=st.integers(0, 20), priority=st.integers(0, 50))
    def reorder(self, number: int, priority: int) -> None:
        entry = self.pick(number, EntryStatus.PENDING)
        if entry:
            assert claims.set_priority(entry, priority, actor=SYSTEM, source=Source.API, reason="so")

    @rule(total=limit, per_user=limit, per_organization=limit, fair=st.booleans(), paused=st.booleans())
    def change_limits(self, total: int, per_user: int, per_organization: int, fair: bool, paused: bool) -> None:
        limits = {"max_running": total, "max_running_per_user": per_user, "fair_share": fair, "paused": paused}
        operations.set_general({**limits, "max_running_per_organization": per_organization}, BY)

    @rule(answer=st.sampled_from(["taken", "refused", "lost", "broken"]))
    def run_pass(self, answer: str) -> None:
        refusals: dict[str, list[Exception]] = {
            "refused": [ProviderError("refused", nothing_created=True)],
            "broken": [RuntimeError("a bug")],
        }
        self.provider.refusals = refusals.get(answer, [])
        self.provider.lose_answers = int(answer == "lost")
        before = current_usage()
        dispatch.run_pass()
        self.check_limits(before)
        self.provider.refusals, self.provider.lose_answers = [], 0

    @rule(number=st.integers(0, 1), own=st.none() | limit)
    def change_own_limit(self, number: int, own: int | None) -> None:
        operations.set_organization(self.organizations[number], own, BY, may_exceed=True)

    @rule(places=st.none() | limit, drained=st.booleans())
    def change_provider(self, places: int | None, drained: bool) -> None:
        ProviderLimit.objects.update_or_create(pk="scripted", defaults={"max_running": places, "drained": drained})

    @rule(has_begun=st.booleans())
    def crash_after_claiming(self, has_begun: bool) -> None:
        before, limits, now = current_usage(), current_limits(queue_state()), timezone.now()
        waiting = [candidate_of(entry) for entry in QueueEntry.objects.filter(status=EntryStatus.PENDING)]
        promised = choose(waiting, before.copy(), limits, now)
        claimed: list[QueueEntry] = []
        while entries := claims.claim_next():
            claimed += entries
        assert [entry.pk for entry in claimed] == promised
        self.check_limits(before)
        if has_begun:
            prepare(claimed)

    @rule()
    def let_time_pass(self) -> None:
        past = timezone.now() - timedelta(minutes=11)
        QueueEntry.objects.filter(status=EntryStatus.DISPATCHING).update(lease_until=past, dispatched_at=past)
        QueueEntry.objects.update(not_before=None)

    @rule(number=st.integers(0, 20), again=st.booleans())
    def settle(self, number: int, again: bool) -> None:
        entry = self.pick(number, EntryStatus.DISPATCHING)
        if entry is None or entry.unconfirmed_at is None or entry.job.submission_marker in self.provider.trainings:
            return
        assert (operations.resubmit if again else operations.end_unconfirmed)(entry, BY)

    def check_limits(self, before: Usage) -> None:
        """A pass may leave what was above a lowered limit; it never adds to it."""
        limits, usage = current_limits(queue_state()), current_usage()
        assert usage.total <= max(limits.total, before.total)
        for user, count in usage.users.items():
            assert count <= max(limits.per_user, before.users[user])
        for provider, count in usage.providers.items():
            assert count <= max(limits.providers.get(provider, count), before.providers[provider])
        for organization, count in usage.organizations.items():
            assert count <= max(limits.of_organization(organization), before.organizations[organization])

    @rule()
    def nothing_that_may_go_is_left_by_a_pass(self) -> None:
        dispatch.run_pass()
        limits, usage, now = current_limits(queue_state()), current_usage(), timezone.now()
        for entry in QueueEntry.objects.filter(status=EntryStatus.PENDING):
            assert not can_go(candidate_of(entry), usage, limits, now)

    @invariant()
    def no_training_was_started_twice(self) -> None:
        assert all(count <= 1 for count in self.provider.started.values())

    @invariant()
    def every_job_that_has_not_ended_is_in_the_queue_once(self) -> None:
        active = set(Job.objects.active().values_list("pk", flat=True))
        live = list(QueueEntry.objects.live().values_list("job_id", flat=True))
        assert len(live) == len(set(live))
        assert active <= set(live)

    @precondition(lambda self: hasattr(self, "users"))
    @invariant()
    def what_runs_is_at_the_provider(self) -> None:
        for entry in QueueEntry.objects.filter(status=EntryStatus.RUNNING).select_related("job"):
            assert entry.job.submission_marker in self.provider.trainings

    def let_everything_go(self) -> None:
        """With every limit lifted, whatever was done before: each job ends, and nobody is passed over for ever."""
        lifted = {"max_running": 50, "max_running_per_user": 50, "max_running_per_organization": 50, "paused": False}
        operations.set_general(lifted, BY)
        ProviderLimit.objects.all().delete()
        for organization in self.organizations:
            operations.set_organization(organization, None, BY, may_exceed=True)
        for _ in range(2 * claims.MAX_ATTEMPTS):
            for entry in QueueEntry.objects.filter(status=EntryStatus.BLOCKED).select_related("job"):
                claims.release(entry.job, actor=SYSTEM, source=Source.API, reason="fine")
            self.let_time_pass()
            dispatch.run_pass()
            for number in range(QueueEntry.objects.filter(status=EntryStatus.DISPATCHING).count()):
                self.settle(number, again=True)
            for entry in QueueEntry.objects.filter(status=EntryStatus.RUNNING).select_related("job"):
                lifecycle.finish(entry.job, JobStatus.COMPLETED, actor=SYSTEM, source=Source.POLL, reason="it ended")
            dispatch.close_ended()
        assert not QueueEntry.objects.live().exists()
        assert not Job.objects.active().exists()
        self.no_training_was_started_twice()


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.slow
@pytest.mark.django_db
def test_whatever_happens_in_whatever_order(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[CountingProvider] = []
    monkeypatch.setattr(providers, "_PROVIDERS", {"scripted": lambda: current[-1]})

    class Fresh(Queue):
        """A run of its own: another provider, and rows that are gone afterwards."""

        def __init__(self) -> None:
            super().__init__()
            self.provider = CountingProvider()
            self.provider.started = Counter()
            current.append(self.provider)
            self.block = undone()
            self.block.__enter__()

        def teardown(self) -> None:
            try:
                if hasattr(self, "users") and sys.exc_info()[0] is None:
                    self.let_everything_go()
            finally:
                self.block.__exit__(None, None, None)

    quick = settings(
        max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Fresh, settings=quick)
