"""Writes that wait until the database can be written to again."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from django.db import transaction

from cloudtrain_site.correlation_ids import correlation, get_correlation_id
from cloudtrain_site.database import late_writes
from cloudtrain_site.database.late_writes import write_now_or_later
from tests.wait import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_writes, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(late_writes, "_late_writes", late_writes.LateWrites())


def failing(times: int, calls: list[str], name: str = "written", error: Exception | None = None) -> Callable[[], str]:
    """Return a write that fails so often, for want of room unless `error` says otherwise."""
    failures = iter([error or OSError(errno.ENOSPC, "full")] * times)

    def write() -> str:
        if failure := next(failures, None):
            calls.append("failed")
            raise failure
        calls.append(name)
        return name

    return write


def test_what_can_be_written_is_written_at_once() -> None:
    calls: list[str] = []
    assert write_now_or_later(failing(0, calls), "later") == "written"
    assert calls == ["written"]


def test_what_can_not_is_repeated_until_it_can() -> None:
    calls: list[str] = []
    assert write_now_or_later(failing(3, calls), "later") == "later"
    wait_until(lambda: "written" in calls)
    assert calls == ["failed", "failed", "failed", "written"]


def test_one_after_the_other_and_again_later() -> None:
    calls: list[str] = []
    for name in "abc":
        assert write_now_or_later(failing(4, calls, name), "later") == "later"
    wait_until(lambda: len(calls) == 15)
    assert [call for call in calls if call != "failed"] == ["a", "b", "c"]
    write_now_or_later(failing(1, calls, "d"), "later")
    wait_until(lambda: calls[-1] == "d")


def test_other_errors_are_raised() -> None:
    calls: list[str] = []
    with pytest.raises(ValueError, match="ours"):
        write_now_or_later(failing(1, calls, error=ValueError("ours")), "later")
    assert calls == ["failed"]


def test_within_a_transaction_nothing_is_put_off() -> None:
    with pytest.raises(OSError, match="full"), transaction.atomic():
        write_now_or_later(failing(1, []), "later")


def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_writes, "MAX_WAITING", 1)
    monkeypatch.setattr(late_writes, "RETRY_SECONDS", 0.2)
    calls: list[str] = []
    write_now_or_later(failing(2, calls, "first"), "later")
    with pytest.raises(OSError, match="full"):
        write_now_or_later(failing(1, []), "later")
    wait_until(lambda: "first" in calls)


def test_a_late_write_with_another_error_keeps_none_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    errors = iter([OSError(errno.ENOSPC, "full"), ValueError("ours")])

    def break_later() -> None:
        raise next(errors)

    write_now_or_later(break_later, None)
    write_now_or_later(failing(1, calls), "later")
    wait_until(lambda: "written" in calls)
    assert "A late write failed" in caplog.messages


def test_it_has_the_correlation_id_of_its_time() -> None:
    errors, ids = iter([OSError(errno.ENOSPC, "full")]), list[str | None]()

    def write() -> None:
        if error := next(errors, None):
            raise error
        ids.append(get_correlation_id())

    with correlation("of-the-job"):
        write_now_or_later(write, None)
    wait_until(lambda: ids)
    assert ids == ["of-the-job"]
