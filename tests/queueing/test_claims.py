"""The verbs of the queue: each wins once, and loses without a trace."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.models import Job, JobEvent, Organization
from jobs.statuses import JobStatus
from queueing import claims, dispatch, passes
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from queueing.waiting import order
from queueing.waiting.explain import Explainer
from queueing.waiting.order import current_order, position_of, queue_in_order
from queueing.waiting.positions import waiting_facts
from tests.providers import ScriptedProvider

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]


def status_of(entry: QueueEntry) -> str:
    return QueueEntry.objects.get(pk=entry.pk).status


def limit(**fields: Any) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 100, "max_running": 100, **fields})


def test_what_cannot_be_put_on_record_is_not_done(
    enqueue: Enqueue, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = enqueue()

    def crash(*args: Any) -> None:
        raise RuntimeError("its history can't be written")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(claims, "record_in_history", crash)
        claims.claim_next()
    assert status_of(waiting) == EntryStatus.PENDING
    (entry,) = claims.claim_next()
    unconfirmed, job = missing(entry, minutes=11), make_job()
    monkeypatch.setattr(claims, "record_in_history", crash)
    before = QueueEntry.objects.values().get()
    for change in (
        lambda: claims.enqueue(job, role=None, held=False, actor=SYSTEM, source=Source.API),
        lambda: claims.postpone_search(unconfirmed, "not there"),
        lambda: claims.set_priority(unconfirmed, 50, actor=SYSTEM, source=Source.API, reason="deadline"),
    ):
        with pytest.raises(RuntimeError):
            change()
    assert QueueEntry.objects.values().get() == before


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


def test_release_takes_no_entry_from_its_dispatcher(enqueue: Enqueue) -> None:
    """It would be submitted twice."""
    entry = enqueue()
    claims.claim_next()
    assert not claims.release(entry.job, actor=SYSTEM, source=Source.ADMIN, reason="fine")
    assert status_of(entry) == EntryStatus.DISPATCHING


def test_release_loses_when_the_job_has_left_the_queue(enqueue: Enqueue) -> None:
    entry = enqueue(held=True)
    lifecycle.request_cancel(entry.job, actor=SYSTEM, source=Source.API)
    claims.end(entry.job)
    assert not claims.release(entry.job, actor=SYSTEM, source=Source.ADMIN, reason="fine")
    assert status_of(entry) == EntryStatus.CANCELLED


def test_a_jobs_live_entry_is_its_own(enqueue: Enqueue) -> None:
    other, entry = enqueue(), enqueue()
    assert (claims.live_entry(other.job), claims.live_entry(entry.job)) == (other, entry)
    assert claims.live_entries([entry.job]) == {entry.job_id: entry}
    lifecycle.request_cancel(entry.job, actor=SYSTEM, source=Source.API)
    claims.end(entry.job)
    assert claims.live_entry(entry.job) is None
    assert claims.live_entries([entry.job, other.job]) == {other.job_id: other}


def test_a_claim_has_a_token_and_a_lease(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    kept = QueueEntry.objects.get()
    assert kept.claim_token == entry.claim_token
    assert seconds_until(kept.lease_until) == 120
    assert seconds_until(kept.dispatched_at) == 0
    assert (kept.attempts, kept.claimed_on) == (1, socket.gethostname())
    lines = JobEvent.objects.filter(new="dispatching").values_list("old", "actor", "source", "at")
    assert list(lines) == [("pending", "dispatcher", "dispatcher", kept.dispatched_at)]
    assert claims.claim_next() == []


def test_a_claim_that_is_taken_over_has_a_new_token_and_a_new_lease(enqueue: Enqueue) -> None:
    enqueue(), enqueue()
    (entry, other) = claims.claim_next()
    QueueEntry.objects.filter(pk=entry.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    taken = QueueEntry.objects.get(pk=entry.pk)
    assert claims.reclaim(taken)
    kept = QueueEntry.objects.get(pk=entry.pk)
    assert (kept.claim_token, kept.lease_until) == (taken.claim_token, taken.lease_until)
    assert kept.claim_token != entry.claim_token
    assert seconds_until(kept.lease_until) == 120
    assert QueueEntry.objects.get(pk=other.pk).claim_token == other.claim_token


def test_what_has_its_slot_already_is_taken_over_by_nobody(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    late = timezone.now() - timedelta(seconds=1)
    QueueEntry.objects.update(status=EntryStatus.RUNNING, lease_until=late)
    assert not claims.reclaim(QueueEntry.objects.get(pk=entry.pk))


def test_only_those_that_still_wait_are_claimed(enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, waiting, left = enqueue(), enqueue(), enqueue()
    QueueEntry.objects.filter(pk=gone.pk).update(status=EntryStatus.CANCELLED)
    assert claims._claim([gone.pk, waiting.pk], "mark") == [waiting]
    assert claims._claim([gone.pk], "other") == claims._claim([], "third") == []
    assert status_of(left) == EntryStatus.PENDING


def test_nothing_is_claimed_during_a_pause_or_with_every_slot_taken(enqueue: Enqueue) -> None:
    enqueue(), enqueue()
    limit(paused=True)
    assert claims.claim_next() == []
    limit(max_running=1, paused=False)
    assert len(claims.claim_next()) == 1
    assert claims.claim_next() == []


def test_a_user_runs_no_more_than_the_limit_and_the_rest_say_why(enqueue: Enqueue) -> None:
    limit(max_running_per_user=2)
    entries = [enqueue() for _ in range(3)]
    assert len(claims.claim_next()) == 2
    assert (
        Explainer(None, [entries[2]])
        .reason(entries[2])
        .startswith("The submitter's limit is reached: 2 of 2 jobs are running")
    )
    assert position_of(QueueEntry.objects.get(pk=entries[2].pk)) == 1


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
    before = QueueEntry.objects.values().get()
    assert not claims.confirm(entry)
    assert not claims.requeue(entry, "refused")
    assert not claims.postpone_search(entry, "not there")
    assert not claims.block(entry, actor=SYSTEM, reason="changed since its approval")
    assert QueueEntry.objects.values().get() == before


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
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert not claims.reclaim(second), "nor when the winner has died as well: it has to look again"


def seconds_until(moment: datetime | None) -> int:
    assert moment is not None
    return round((moment - timezone.now()).total_seconds())


def test_what_is_given_back_waits_longer_each_time(enqueue: Enqueue) -> None:
    enqueue()
    pauses = []
    for attempt in (1, 2, 3):
        (entry,) = claims.claim_next()
        assert claims.requeue(entry, "connection refused")
        assert claims.claim_next() == []
        kept = QueueEntry.objects.get()
        assert (kept.status, kept.attempts, kept.last_error) == (EntryStatus.PENDING, attempt, "connection refused")
        assert (kept.claim_token, kept.lease_until) == (None, None)
        pauses.append(seconds_until(kept.not_before))
        QueueEntry.objects.update(not_before=None)
    assert pauses == [5, 20, 80]
    reasons = list(JobEvent.objects.filter(reason__startswith="try").values_list("reason", flat=True))
    assert reasons == [f"try {attempt} of 3 failed: connection refused" for attempt in (1, 2, 3)]


def test_a_pause_that_the_provider_asks_for_is_no_attempt_and_keeps_all_its_jobs(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit()
    enqueue(), enqueue(), enqueue(provider="replicate")
    entry, other, elsewhere = claims.claim_next()
    assert claims.requeue(other, "connection refused")
    assert claims.requeue(entry, "429", pause=timedelta(seconds=40))
    assert claims.requeue(elsewhere, "connection refused")
    kept = QueueEntry.objects.get(pk=entry.pk)
    assert (kept.attempts, seconds_until(kept.not_before)) == (0, 40)
    QueueEntry.objects.update(not_before=None)
    assert claims.claim_next() == [elsewhere]
    assert 39 < claims._paused_until["scripted"] - time.monotonic() <= 40
    monkeypatch.setattr(claims, "_paused_until", {"scripted": time.monotonic() - 1})
    assert claims.claim_next() == [entry, other]


def test_the_lease_outlasts_the_longest_call() -> None:
    """The holder of a claim must know what came of its call before another may take it over."""
    assert timedelta(seconds=2 * dispatch.CALL_SECONDS) <= claims.LEASE <= timedelta(minutes=5)
    assert dispatch.CALL_SECONDS + dispatch.PASS_SECONDS < 60, "after which a worker is killed"


def missing(entry: QueueEntry, **ago: float) -> QueueEntry:
    """The entry, of which the training has been missing for so long."""
    QueueEntry.objects.filter(pk=entry.pk).update(dispatched_at=timezone.now() - timedelta(**ago))
    return QueueEntry.objects.select_related("job").get(pk=entry.pk)


def test_a_blocked_claim_begins_anew_when_it_is_released(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    assert claims.block(entry, actor=SYSTEM, reason="changed since its approval")
    kept = QueueEntry.objects.get()
    assert (kept.status, kept.attempts, kept.claim_token, kept.lease_until) == ("blocked", 0, None, None)
    assert claims.release(entry.job, actor=SYSTEM, source=Source.ADMIN, reason="fine")
    assert status_of(entry) == EntryStatus.PENDING


def test_an_ended_job_frees_its_slot_once(enqueue: Enqueue) -> None:
    entry = enqueue()
    lifecycle.finish(entry.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    assert claims.end(entry.job)
    assert not claims.end(entry.job)
    kept = QueueEntry.objects.get()
    assert (kept.status, seconds_until(kept.finished_at)) == (EntryStatus.FAILED, 0)


def test_the_end_of_a_claimed_job_ends_its_claim(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    lifecycle.finish(entry.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    assert claims.end(entry.job, to=EntryStatus.CANCELLED)
    kept = QueueEntry.objects.get()
    assert (kept.status, kept.claim_token, kept.lease_until) == (EntryStatus.CANCELLED, None, None)


def test_an_entry_that_changed_since_it_was_read_is_ended_all_the_same(enqueue: Enqueue) -> None:
    stale = enqueue()
    claims.claim_next()
    lifecycle.finish(stale.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    assert claims.end(stale.job, entry=stale)
    assert not claims.end(stale.job, entry=stale)
    assert status_of(stale) == EntryStatus.FAILED
    fresh = enqueue()
    lifecycle.finish(fresh.job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="no")
    assert claims.end(fresh.job, entry=fresh)


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
    assert [position_of(entry) for entry in (entries[4], entries[2])] == [5, 3]


def test_with_fair_share_places_are_those_of_the_shares(enqueue: Enqueue, charlie: User) -> None:
    limit(fair_share=True, max_running=2)
    other = Organization.objects.get(name="other")
    mine = [enqueue() for _ in range(4)]
    claims.claim_next()
    theirs = [enqueue(organization=other, submitted_by=charlie) for _ in range(2)]
    expected = [theirs[0], theirs[1], mine[2], mine[3]]
    assert [position_of(entry) for entry in expected] == [1, 2, 3, 4]
    assert list(queue_in_order(QueueEntry.objects.live())) == [*mine[:2], *expected]
    QueueState.objects.update(max_running=6)
    assert claims.claim_next() == expected


def test_the_places_behind_those_that_are_read_are_counted(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, make_job: Any
) -> None:
    monkeypatch.setattr(order, "MAX_ENTRIES_READ", 2)
    entries = [enqueue() for _ in range(5)]
    positions = current_order().positions([entry.pk for entry in entries])
    assert positions == {entry.pk: number for number, entry in enumerate(entries, start=1)}


def test_a_page_of_waiting_entries_costs_the_same_whatever_they_are(
    enqueue: Enqueue,
    alice: User,
    charlie: User,
    make_job: Any,
    django_assert_num_queries: Any,
    scripted: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "_PROVIDERS", {f"p-{number}": lambda: scripted for number in range(3)})
    QueueState.objects.get_or_create(pk=1)
    organizations = [Organization.objects.create(name=f"org-{number}", max_running=number) for number in range(1, 4)]
    for number in range(9):
        fields = {"provider": f"p-{number % 3}", "hardware_profile": f"h-{number}"}
        enqueue(organization=organizations[number % 3], **fields)
        make_job(status=JobStatus.COMPLETED, started_at=timezone.now(), **fields)
    page = list(QueueEntry.objects.select_related("job", "user", "organization"))
    with django_assert_num_queries(7):  # one of them asks for the budgets
        facts = waiting_facts(page, charlie)
    assert all(facts_of_entry["estimated_wait_seconds"] is not None for facts_of_entry in facts.values())
    with django_assert_num_queries(7):
        waiting_facts(page[:1], alice)
