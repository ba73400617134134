"""Requests are counted once each, by whatever process; refusals are recorded, and logged once an hour."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from cloudtrain_site.database import failures
from cloudtrain_site.limits.uses import note_refusal, seconds_to_wait
from cloudtrain_site.models import LimitUse
from tests.cloudtrain_site.conftest import Lines
from tests.races import at_once

LIMIT = "syncs_per_minute"


@pytest.mark.django_db
class TestCounting:
    def test_as_many_requests_as_the_limit_says_may_go_at_once(self, alice: User) -> None:
        waits = [seconds_to_wait(alice.pk, LIMIT, 5) for _ in range(7)]
        assert waits[:5] == [0.0] * 5
        assert all(11 < wait <= 12 for wait in waits[5:])

    def test_one_more_may_go_when_its_share_of_the_minute_is_over(self, alice: User) -> None:
        for _ in range(5):
            seconds_to_wait(alice.pk, LIMIT, 5)
        use = LimitUse.objects.get()
        LimitUse.objects.update(used_until=use.used_until - 12)
        assert [seconds_to_wait(alice.pk, LIMIT, 5) > 0 for _ in range(2)] == [False, True]

    def test_who_rested_for_long_has_no_more_than_the_limit(self, alice: User) -> None:
        LimitUse.objects.create(user=alice, limit=LIMIT, used_until=time.time() - 86_400)
        assert [seconds_to_wait(alice.pk, LIMIT, 2) > 0 for _ in range(3)] == [False, False, True]

    def test_people_and_limits_are_counted_apart(self, alice: User, bob: User) -> None:
        uses = [(alice, LIMIT), (bob, LIMIT), (alice, "previews_per_minute")]
        assert [seconds_to_wait(user.pk, limit, 1) for user, limit in uses] == [0.0] * 3
        assert all(seconds_to_wait(user.pk, limit, 1) for user, limit in uses)

    def test_a_clock_that_was_ahead_locks_nobody_out(self, alice: User) -> None:
        LimitUse.objects.create(user=alice, limit=LIMIT, used_until=time.time() + 86_400)
        assert seconds_to_wait(alice.pk, LIMIT, 5) == 0.0
        assert 0 < seconds_to_wait(alice.pk, LIMIT, 5) <= 12


@pytest.mark.django_db(transaction=True)
def test_of_twenty_first_requests_at_once_the_limits_number_may_go(alice: User) -> None:
    waits = at_once(*[partial(seconds_to_wait, alice.pk, LIMIT, 7)] * 20)
    assert waits.count(0.0) == 7
    assert LimitUse.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite
def test_a_database_that_cannot_be_written_lets_every_request_through_and_is_logged_once(
    alice: User, log_lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_logged_at", {})
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    try:
        assert [seconds_to_wait(alice.pk, LIMIT, 1) for _ in range(3)] == [0.0] * 3
        note_refusal(alice.pk, LIMIT)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")
    assert not LimitUse.objects.exists()
    assert [line["message"] for line in log_lines()] == ["Requests fail: the database can't be written to"]


@pytest.mark.django_db
class TestRefusals:
    def test_a_person_who_is_refused_again_and_again_is_logged_once(self, alice: User, log_lines: Lines) -> None:
        for _ in range(5):
            note_refusal(alice.pk, "open_jobs")
        [line] = log_lines()
        assert (line["level"], line["message"]) == ("WARNING", "A person has reached a limit")
        assert line["extra"] == {"limit": "open_jobs", "user": "alice"}

    def test_another_limit_is_another_line(self, alice: User, log_lines: Lines) -> None:
        note_refusal(alice.pk, "open_jobs")
        note_refusal(alice.pk, "uploads")
        assert len(log_lines()) == 2

    @pytest.mark.parametrize(("minutes", "lines"), [(59, 0), (61, 1)])
    def test_after_an_hour_it_is_logged_again(self, alice: User, log_lines: Lines, minutes: int, lines: int) -> None:
        before = timezone.now() - timedelta(minutes=minutes)
        LimitUse.objects.create(user=alice, limit="open_jobs", refused_at=before, logged_at=before)
        note_refusal(alice.pk, "open_jobs")
        assert len(log_lines()) == lines
        assert LimitUse.objects.filter(refused_at__gt=before).exists()
