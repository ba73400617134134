"""The verbs of the queue: each wins once, and loses without a trace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import JobEvent, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims, passes
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from queueing.waiting import order
from queueing.waiting.explain import waiting_reasons
from queueing.waiting.order import current_order, positions, queue_in_order
from queueing.waiting.positions import waiting_facts
from tests.providers import ScriptedProvider

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]


def status_of(entry: QueueEntry) -> str:
    return QueueEntry.objects.get(pk=entry.pk).status


def limit(**fields: Any) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 100, "max_running": 100, **fields})


@pytest.mark.parametrize(("role", "priority"), [("viewer", 0), ("researcher", 10), ("lead", 20), ("admin", 30)])
def test_priority_comes_from_the_submitters_role(enqueue: Enqueue, role: str, priority: int) -> None:
    assert enqueue(role=Role(role)).priority == priority


def test_a_job_has_one_live_entry(enqueue: Enqueue) -> None:
    entry = enqueue()
    with pytest.raises(IntegrityError), transaction.atomic():
        claims.enqueue(entry.job, role=None, held=False, actor=SYSTEM, source=Source.API)


def test_a_held_entry_is_not_claimed_until_it_is_released(enqueue: Enqueue) -> None:
    entry = enqueue(held=True)
    assert claims.claim_next() == []
    assert claims.release(entry.job, actor=SYSTEM, source=Source.ADMIN, reason="fine")
    assert claims.claim_next() == [entry]


def test_release_loses_when_the_entry_is_not_held(enqueue: Enqueue) -> None:
    entry = enqueue()
    assert not claims.release(entry.job, actor=SYSTEM, source=Source.ADMIN, reason="fine")
    assert JobEvent.objects.count() == 1


def test_claims_go_by_priority_and_then_by_age(enqueue: Enqueue) -> None:
    limit()
    low, first, second = enqueue(role=Role.VIEWER), enqueue(), enqueue()
    assert claims.claim_next() == [first, second, low]


def test_an_override_counts_in_the_order_and_is_on_record(enqueue: Enqueue) -> None:
    limit()
    first, second = enqueue(), enqueue()
    assert claims.set_priority(second, 50, actor=SYSTEM, source=Source.API, reason="deadline")
    assert claims.claim_next() == [second, first]
    assert "priority 10 -> 50: deadline" in JobEvent.objects.filter(job=second.job).values_list("reason", flat=True)


def test_an_entry_that_left_the_queue_keeps_its_priority(enqueue: Enqueue) -> None:
    entry = enqueue()
    stale = QueueEntry.objects.get()
    lifecycle.finish(entry.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    claims.end(entry.job)
    assert not claims.set_priority(stale, 50, actor=SYSTEM, source=Source.API, reason="late")


def test_a_claim_has_a_token_and_a_lease(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    kept = QueueEntry.objects.get()
    assert kept.claim_token == entry.claim_token
    assert kept.lease_until is not None
    assert kept.attempts == 1
    assert claims.claim_next() == []


def test_a_user_runs_no_more_than_the_limit_and_the_rest_say_why(enqueue: Enqueue) -> None:
    limit(max_running_per_user=2)
    entries = [enqueue() for _ in range(3)]
    assert len(claims.claim_next()) == 2
    assert waiting_reasons([entries[2]])[entries[2].pk].startswith("2 of the submitter's 2 jobs are running")
    assert positions([entries[2].pk]) == {entries[2].pk: 1}


def test_the_holder_of_the_claim_confirms_it(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    assert claims.confirm(entry)
    assert status_of(entry) == EntryStatus.RUNNING


def test_a_stale_holders_outcome_is_dropped(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert claims.reclaim(QueueEntry.objects.get())
    assert not claims.confirm(entry)
    assert not claims.requeue(entry, "refused")
    assert status_of(entry) == EntryStatus.DISPATCHING


def test_a_claim_is_taken_over_only_when_its_lease_ran_out(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    assert not claims.reclaim(entry)


def test_of_two_who_take_over_one_wins(enqueue: Enqueue) -> None:
    enqueue()
    claims.claim_next()
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    first, second = QueueEntry.objects.get(), QueueEntry.objects.get()
    assert claims.reclaim(first)
    assert not claims.reclaim(second)


def test_what_is_given_back_waits_longer_each_time(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    assert claims.requeue(entry, "connection refused")
    kept = QueueEntry.objects.get()
    assert kept.status == EntryStatus.PENDING
    assert kept.not_before is not None
    assert kept.last_error == "connection refused"
    assert "try 1 of 3 failed: connection refused" in JobEvent.objects.values_list("reason", flat=True)
    assert claims.claim_next() == []


def test_an_ended_job_frees_its_slot_once(enqueue: Enqueue) -> None:
    entry = enqueue()
    lifecycle.finish(entry.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    assert claims.end(entry.job)
    assert not claims.end(entry.job)
    assert status_of(entry) == EntryStatus.FAILED


def test_news_of_the_end_frees_the_slot(enqueue: Enqueue, django_capture_on_commit_callbacks: Any) -> None:
    entry = enqueue()
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.request_cancel(entry.job, actor=SYSTEM, source=Source.API)
    assert status_of(entry) == EntryStatus.CANCELLED


def test_many_wishes_for_a_pass_cause_one(
    db: None, django_capture_on_commit_callbacks: Any, django_assert_num_queries: Any
) -> None:
    from django_q.models import OrmQ

    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(20):
            passes.request_pass()
    assert OrmQ.objects.count() == 1
    passes.begin_pass()
    with django_capture_on_commit_callbacks(execute=True):
        passes.request_pass()
    assert OrmQ.objects.count() == 2


def test_the_queues_numbers_are_told_when_they_change_and_not_otherwise(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    enqueue()
    assert passes.publish_queue()
    assert not passes.publish_queue()
    enqueue()
    assert not passes.publish_queue(), "at most once a second"
    QueueState.objects.update(told_at=timezone.now() - timedelta(seconds=2))
    assert passes.publish_queue()


def test_places_count_everybody_who_waits_and_not_only_those_asked_for(enqueue: Enqueue) -> None:
    entries = [enqueue() for _ in range(5)]
    assert positions([entries[4].pk, entries[2].pk]) == {entries[2].pk: 3, entries[4].pk: 5}
    assert positions([entries[4].pk]) == {entries[4].pk: 5}


def test_with_fair_share_places_are_those_of_the_shares(enqueue: Enqueue, charlie: User) -> None:
    limit(fair_share=True, max_running=2)
    other = Organization.objects.get(name="other")
    mine = [enqueue() for _ in range(4)]
    claims.claim_next()
    theirs = [enqueue(organization=other, submitted_by=charlie) for _ in range(2)]
    expected = [theirs[0], theirs[1], mine[2], mine[3]]
    assert positions([entry.pk for entry in expected]) == {entry.pk: n for n, entry in enumerate(expected, start=1)}
    assert positions([mine[2].pk]) == {mine[2].pk: 3}
    assert list(queue_in_order(QueueEntry.objects.live())) == [*mine[:2], *expected]
    QueueState.objects.update(max_running=6)
    assert claims.claim_next() == expected


def test_the_places_behind_those_that_are_read_are_counted(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, make_job: Any
) -> None:
    monkeypatch.setattr(order, "MAX_ENTRIES_READ", 2)
    entries = [enqueue() for _ in range(5)]
    told = current_order().positions([entry.pk for entry in entries])
    assert told == {entry.pk: number for number, entry in enumerate(entries, start=1)}


def test_a_page_of_waiting_entries_costs_the_same_whatever_they_are(
    enqueue: Enqueue, alice: User, charlie: User, make_job: Any, django_assert_num_queries: Any
) -> None:
    QueueState.objects.get_or_create(pk=1)
    organizations = [Organization.objects.create(name=f"org-{number}", max_running=number) for number in range(1, 4)]
    for number in range(9):
        fields = {"provider": f"p-{number % 3}", "hardware_profile": f"h-{number}"}
        enqueue(organization=organizations[number % 3], **fields)
        make_job(status=JobStatus.COMPLETED, started_at=timezone.now(), **fields)
    page = list(QueueEntry.objects.select_related("job", "user", "organization"))
    with django_assert_num_queries(5):
        told = waiting_facts(page, charlie)
    assert all(words["estimated_wait_seconds"] is not None for words in told.values())
    with django_assert_num_queries(5):
        waiting_facts(page[:1], alice)
