"""Trainings that may or may not exist: searched for, asked of a person once, and submitted again at most by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs.models import DatasetUpload, JobEvent, Organization
from queueing import claims
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.queueing.test_claims import missing, seconds_until, status_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]


def unconfirmed_lines() -> int:
    return JobEvent.objects.filter(reason__startswith=claims.UNCONFIRMED).count()


def test_a_person_is_asked_once_and_after_ten_minutes(enqueue: Enqueue) -> None:
    enqueue(), enqueue()
    (entry, other) = claims.claim_next()
    assert claims.postpone_search(missing(entry, minutes=9.9), "not there")
    kept = QueueEntry.objects.get(pk=entry.pk)
    assert (kept.unconfirmed_at, kept.last_error, unconfirmed_lines()) == (None, "not there", 0)
    assert claims.postpone_search(missing(entry, minutes=10), "not there")
    first = QueueEntry.objects.get(pk=entry.pk)
    assert (first.unconfirmed_at is not None, seconds_until(first.lease_until), unconfirmed_lines()) == (True, 600, 1)
    assert claims.postpone_search(missing(entry, minutes=20), "not there still")
    again = QueueEntry.objects.get(pk=entry.pk)
    assert (again.unconfirmed_at, again.last_error, unconfirmed_lines()) == (first.unconfirmed_at, "not there still", 1)
    untouched = QueueEntry.objects.get(pk=other.pk)
    assert (untouched.unconfirmed_at, untouched.last_error) == (None, "")


def test_a_training_with_a_dataset_is_missing_since_its_submission(enqueue: Enqueue, alice: User) -> None:
    """The transfer of the dataset may have taken longer than a search."""
    fields = {"size": 1, "files": 1, "unpacked_size": 1}
    upload = DatasetUpload.objects.create(organization=Organization.objects.get(), uploaded_by=alice, **fields)
    submitted = timezone.now() - timedelta(minutes=1)
    enqueue(dataset=upload, submission_started_at=submitted), enqueue(submission_started_at=submitted)
    for entry in claims.claim_next():
        assert claims.postpone_search(missing(entry, minutes=30), "not there")
    unconfirmed = QueueEntry.objects.exclude(unconfirmed_at=None).values_list("job__dataset", flat=True)
    assert list(unconfirmed) == [None]


def test_what_was_unconfirmed_and_turned_up_is_so_no_more(enqueue: Enqueue) -> None:
    enqueue()
    claims.claim_next()
    claims.postpone_search(missing(QueueEntry.objects.get(), minutes=11), "not there")
    assert claims.confirm(QueueEntry.objects.get())
    kept = QueueEntry.objects.get()
    assert (kept.status, kept.unconfirmed_at, kept.lease_until, kept.last_error) == ("running", None, None, "")
    assert not claims.postpone_search(kept, "not there"), "it has its slot, and nothing to be searched for"


def test_a_claim_without_a_time_is_missing_since_the_job_came(enqueue: Enqueue) -> None:
    enqueue()
    claims.claim_next()
    QueueEntry.objects.update(dispatched_at=None, enqueued_at=timezone.now() - timedelta(minutes=11))
    assert claims.postpone_search(QueueEntry.objects.select_related("job").get(), "not there")
    assert QueueEntry.objects.get().unconfirmed_at is not None


def resubmit(entry: QueueEntry) -> bool:
    return claims.resubmit(entry, actor=SYSTEM, source=Source.ADMIN, reason="it is not there")


def test_what_is_unconfirmed_is_submitted_again_as_if_it_were_new(enqueue: Enqueue) -> None:
    enqueue()
    (entry,) = claims.claim_next()
    assert not resubmit(entry), "it is not unconfirmed"
    claims.postpone_search(missing(entry, minutes=11), "not there")
    QueueEntry.objects.update(attempts=3, not_before=timezone.now() + timedelta(minutes=5))
    assert resubmit(QueueEntry.objects.get())
    kept = QueueEntry.objects.get()
    assert (kept.status, kept.attempts, kept.not_before, kept.last_error) == (EntryStatus.PENDING, 0, None, "")
    assert (kept.claim_token, kept.lease_until, kept.unconfirmed_at) == (None, None, None)
    assert JobEvent.objects.filter(reason="resubmit: it is not there", new="pending").count() == 1
    assert [claimed.pk for claimed in claims.claim_next()] == [entry.pk]


def test_a_second_click_on_a_stale_page_submits_nothing_again(enqueue: Enqueue) -> None:
    enqueue()
    claims.claim_next()
    claims.postpone_search(missing(QueueEntry.objects.get(), minutes=11), "not there")
    stale = QueueEntry.objects.get()
    assert resubmit(QueueEntry.objects.get())
    (claimed,) = claims.claim_next()
    assert not resubmit(stale)
    claims.postpone_search(missing(claimed, minutes=11), "not there")
    QueueEntry.objects.update(unconfirmed_at=stale.unconfirmed_at)
    assert not resubmit(stale), "it is another claim, be it unconfirmed since the same moment"
    assert status_of(stale) == EntryStatus.DISPATCHING
