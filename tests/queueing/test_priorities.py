"""Priorities: by the submitter's role, and by an operator's override while the job waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, JobEvent
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims, passes
from queueing.models import QueueEntry, QueueState
from tests.queueing.test_claims import limit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]


@pytest.mark.parametrize(("role", "priority"), [("viewer", 0), ("researcher", 10), ("lead", 20), ("admin", 30)])
def test_priority_comes_from_the_submitters_role(enqueue: Enqueue, role: str, priority: int) -> None:
    assert enqueue(role=Role(role)).priority == priority


def test_who_has_no_role_has_no_priority(make_job: Callable[..., Job]) -> None:
    entry = claims.enqueue(make_job(), role=None, held=False, actor=SYSTEM, source=Source.API)
    assert (entry.priority, entry.turn) == (0, entry.enqueued_at.timestamp())


def test_claims_go_by_priority_and_then_by_age(enqueue: Enqueue) -> None:
    limit()
    low, first, second = enqueue(role=Role.VIEWER), enqueue(), enqueue()
    assert claims.claim_next() == [first, second, low]


def test_an_override_counts_in_the_order_and_is_on_record(enqueue: Enqueue) -> None:
    limit()
    first, second = enqueue(), enqueue()
    assert claims.set_priority(second, 50, actor=SYSTEM, source=Source.API, reason="deadline")
    assert claims.claim_next() == [second, first]
    assert QueueEntry.objects.get(pk=first.pk).priority_override is None
    assert "priority 10 -> 50: deadline" in JobEvent.objects.filter(job=second.job).values_list("reason", flat=True)


def test_an_entry_that_left_the_queue_keeps_its_priority(enqueue: Enqueue) -> None:
    entry = enqueue()
    stale = QueueEntry.objects.get()
    lifecycle.finish(entry.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    claims.end(entry.job)
    assert not claims.set_priority(stale, 50, actor=SYSTEM, source=Source.API, reason="late")
    assert not claims.set_priority(QueueEntry.objects.get(), 50, actor=SYSTEM, source=Source.API, reason="later still")
    assert QueueEntry.objects.get().priority_override is None


def test_an_override_of_what_has_moved_on_is_asked_for_again(enqueue: Enqueue) -> None:
    stale = enqueue()
    claims.claim_next()
    assert not claims.set_priority(stale, 50, actor=SYSTEM, source=Source.API, reason="late")
    assert QueueEntry.objects.get().priority_override is None


def test_an_override_counts_from_the_moment_when_the_job_came(
    enqueue: Enqueue, django_capture_on_commit_callbacks: Any
) -> None:
    entry, other = enqueue(), enqueue()
    limit()
    came = timezone.now() - timedelta(hours=3)
    QueueEntry.objects.update(enqueued_at=came)
    with django_capture_on_commit_callbacks(execute=True):
        stored = QueueEntry.objects.get(pk=entry.pk)
        assert claims.set_priority(stored, 20, actor=SYSTEM, source=Source.API, reason="deadline")
    kept = QueueEntry.objects.get(pk=entry.pk)
    assert (kept.priority_override, kept.turn) == (20, came.timestamp() - 20 * 360)
    assert QueueEntry.objects.get(pk=other.pk).turn == other.turn
    assert QueueState.objects.get().told_depth == passes.FORCE_PUBLISH
