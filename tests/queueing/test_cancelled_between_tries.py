"""A job that is cancelled while it waits for another try: no provider has it, so it ends, whatever keeps it waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, JobEvent, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.statuses import JobStatus
from queueing import claims, dispatch, tasks
from queueing.models import ProviderLimit, QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider
from tests.queueing.entries import refusal, state

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


def stop(what: str) -> None:
    if what == "paused":
        QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    elif what == "drained":
        ProviderLimit.objects.create(provider="scripted", drained=True)
    elif what == "switched off":
        ProviderConfig.objects.update_or_create(name="scripted", defaults={"enabled": False})


def cancel() -> None:
    assert lifecycle.request_cancel(Job.objects.get(), actor=SYSTEM, source=Source.API)


@pytest.mark.parametrize("what", ["its pause", "paused", "drained", "switched off"])
def test_it_ends_with_the_next_tick(enqueue: Enqueue, scripted: ScriptedProvider, what: str) -> None:
    scripted.refusals = [refusal()]
    enqueue()
    dispatch.run_pass()
    stop(what)
    cancel()
    assert state() == (JobStatus.PENDING, EntryStatus.PENDING)
    tasks.process_queue()
    assert state() == (JobStatus.CANCELLED, EntryStatus.CANCELLED)
    assert len(scripted.specs) == 1
    assert JobEvent.objects.filter(subject="job", new=JobStatus.CANCELLED).count() == 1
    assert dispatch.end_cancelled() == 0


def test_one_that_a_rule_holds_again_ends_too(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.refusals = [refusal()]
    enqueue()
    dispatch.run_pass()
    QueueEntry.objects.update(status=EntryStatus.BLOCKED)
    cancel()
    assert dispatch.end_cancelled() == 1
    assert state() == (JobStatus.CANCELLED, EntryStatus.CANCELLED)


def test_one_that_its_provider_may_have_is_left_alone(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.refusals = [ProviderError("lost")]
    enqueue()
    dispatch.run_pass()
    cancel()
    assert dispatch.end_cancelled() == 0
    assert state() == (JobStatus.PENDING, EntryStatus.DISPATCHING)


def test_so_is_one_that_was_not_cancelled(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    scripted.refusals = [refusal()]
    enqueue()
    dispatch.run_pass()
    assert dispatch.end_cancelled() == 0
    assert state() == (JobStatus.PENDING, EntryStatus.PENDING)


def test_a_claim_that_comes_first_settles_it(
    enqueue: Enqueue, scripted: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.refusals = [refusal()]
    enqueue()
    dispatch.run_pass()
    cancel()
    entry = QueueEntry.objects.select_related("job").get()
    QueueEntry.objects.update(not_before=None)
    monkeypatch.setattr(claims, "_paused_until", {})
    (claimed,) = claims.claim_next()
    assert not dispatch._end_waiting(entry)
    assert not dispatch.dispatch(claimed)
    assert state() == (JobStatus.CANCELLED, EntryStatus.CANCELLED)
    assert len(scripted.specs) == 1
