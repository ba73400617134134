"""Growing pauses after failures, counted in the database."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

import pytest
from django.test import RequestFactory

from cloudtrain_site.limits import brakes
from cloudtrain_site.limits.brakes import ACCOUNT, ADDRESS, LONGEST_SECONDS, OWN_PASSWORD, PausedError, begin
from cloudtrain_site.models import Brake
from cloudtrain_site.tasks import housekeep
from tests.races import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    return clock


def fail(*keys: brakes.Key) -> float:
    """The pause that follows."""
    return begin(*keys).pause


def test_the_pause_doubles_from_the_fifth_failure_on_up_to_a_quarter_of_an_hour(now: list[float]) -> None:
    pauses = []
    for _ in range(18):
        pauses.append(fail(ACCOUNT.key("alice")))
        now[0] += pauses[-1]
    assert pauses[:8] == [0, 0, 0, 0, 1, 2, 4, 8]
    assert pauses[-1] == LONGEST_SECONDS


def test_within_a_pause_nothing_is_tried_and_nothing_counted(now: list[float]) -> None:
    for _ in range(5):
        fail(ACCOUNT.key("alice"))
    before = Brake.objects.values().get()
    with pytest.raises(PausedError) as refused:
        begin(ACCOUNT.key("alice"), ADDRESS.key("192.0.2.1"))
    assert (refused.value.wait, refused.value.status_code) == (1, 429)
    assert Brake.objects.values().get() == before
    now[0] += 1
    assert fail(ACCOUNT.key("alice")) == 2


def test_others_are_not_paused(now: list[float]) -> None:
    for _ in range(5):
        fail(ACCOUNT.key("alice"))
    assert fail(ACCOUNT.key("bob")) == 0
    assert fail(ADDRESS.key("alice")) == 0


def test_a_success_is_no_failure(now: list[float]) -> None:
    for _ in range(20):
        begin(ACCOUNT.key("alice")).succeeded()
    assert fail(ACCOUNT.key("alice")) == 0


def test_a_success_forgets_its_own_failure_alone(now: list[float]) -> None:
    pauses = [fail(OWN_PASSWORD.key("alice")) for _ in range(5)]
    assert pauses == [0, 0, 0, 0, 1]
    begin(OWN_PASSWORD.key("bob")).succeeded()
    assert Brake.objects.get(key=OWN_PASSWORD.key("bob").name).failures == 0
    with pytest.raises(PausedError):
        begin(OWN_PASSWORD.key("alice"))


def test_a_success_ends_its_own_pause(now: list[float]) -> None:
    for _ in range(4):
        fail(ACCOUNT.key("alice"))
    attempt = begin(ACCOUNT.key("alice"))
    assert attempt.pause == 1
    attempt.succeeded()
    assert fail(ACCOUNT.key("alice")) == 1


def test_one_failure_is_forgotten_in_a_quarter_of_an_hour(now: list[float]) -> None:
    for _ in range(5):
        fail(ACCOUNT.key("alice"))
    now[0] += 2 * LONGEST_SECONDS
    assert [fail(ACCOUNT.key("alice")) for _ in range(2)] == [0, 1]


def test_a_clock_that_was_wrong_pauses_nobody_for_ever(now: list[float]) -> None:
    for _ in range(5):
        fail(ACCOUNT.key("alice"))
    now[0] -= 86_400
    assert fail(ACCOUNT.key("alice")) > 0


def test_nothing_readable_is_kept(now: list[float]) -> None:
    fail(ACCOUNT.key("a password by mistake"))
    assert "password" not in str(Brake.objects.values())


def test_old_rows_are_deleted(now: list[float]) -> None:
    fail(ACCOUNT.key("alice"))
    now[0] += 86_401
    fail(ACCOUNT.key("bob"))
    assert housekeep()["brakes"] == 1
    assert Brake.objects.count() == 1


def test_the_log_counts_and_tells_of_a_pause_once(now: list[float], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        begin(ACCOUNT.key("of the log")).failed("Sign-in failed", user="alice")
    for _ in range(3):
        with pytest.raises(PausedError):
            begin(ACCOUNT.key("of the log"))
    lines = [(line.message, line.__dict__.get("failures_of_account")) for line in caplog.records]
    assert lines == [*(("Sign-in failed", count) for count in range(1, 6)), ("Attempts are refused", None)]
    assert all(line.levelno == logging.WARNING for line in caplog.records)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_no_more_get_through_than_of_as_many_one_by_one() -> None:
    def attempt(number: int) -> bool:
        try:
            begin(ACCOUNT.key("alice"), ADDRESS.key(f"192.0.2.{number}"))
        except PausedError:
            return False
        return True

    began = time.monotonic()
    outcomes = at_once(*(partial(attempt, number) for number in range(40)))
    assert sum(outcomes) <= 5 + 1 + time.monotonic() - began


@pytest.mark.parametrize(
    ("address", "counted"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"), ("", ""), ("testclient", "testclient")],
)
def test_an_address_of_ipv6_counts_as_its_network(rf: RequestFactory, address: str, counted: str) -> None:
    request: Any = rf.get("/", REMOTE_ADDR=address)
    assert brakes.address_of(request) == counted
