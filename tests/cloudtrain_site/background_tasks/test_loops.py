"""A run of a loop: never doubled, never stale, always on record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import Task

from cloudtrain_site.background_tasks import loops
from cloudtrain_site.background_tasks.loops import KeptLease, Run, loop, take_lease
from cloudtrain_site.correlation_ids import correlation, current_correlation_id
from cloudtrain_site.http_client import clear_correlation_id
from cloudtrain_site.models import Loop, LoopRun
from cloudtrain_site.tasks import housekeep
from tests.web import wait_until

pytestmark = pytest.mark.django_db


@loop("test loop", failure_message="Error in the test loop")
def work(result: Any = None) -> Any:
    """A loop's task; what it does is the test's."""
    return behaviour()


behaviour: Callable[[], Any] = lambda: None  # noqa: E731 - each test puts its own here


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "behaviour", lambda: None)


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have the loop's task do this."""
    return lambda behaviour: monkeypatch.setitem(globals(), "behaviour", behaviour)


Does = Callable[[Callable[[], Any]], None]


def fail() -> None:
    raise RuntimeError("token=abcdefgh12345678 was refused\0")


def the_loop() -> Loop:
    return Loop.objects.get(pk="test loop")


def lease_until() -> datetime:
    until = the_loop().lease_until
    assert until
    return until


def a_tick(age: float) -> dict[str, Any]:
    """The arguments of a five-second tick that was due `age` seconds ago."""
    return {"intended": (timezone.now() - timedelta(seconds=age)).isoformat(), "every": 5.0}


class TestRecord:
    def test_a_run_is_recorded(self, does: Does) -> None:
        does(lambda: {"dispatched": 2})
        assert work() == {"dispatched": 2}
        row = the_loop()
        assert (row.last_outcome, row.last_result, row.last_error) == ("ok", {"dispatched": 2}, "")
        assert row.last_started_at and row.last_finished_at
        assert row.last_started_at <= row.last_finished_at
        assert (row.lease_token, row.lease_until) == (None, None)

    def test_a_run_that_did_something_is_kept(self, does: Does) -> None:
        does(lambda: {"dispatched": 2, "failed": 0})
        work(), work()
        assert [run.result for run in LoopRun.objects.all()] == [{"dispatched": 2, "failed": 0}] * 2

    @pytest.mark.parametrize("nothing", [None, 0, {}, {"dispatched": 0}])
    def test_of_runs_that_did_nothing_one_a_minute_is_kept(self, does: Does, nothing: Any) -> None:
        does(lambda: nothing)
        work(), work(), work()
        assert LoopRun.objects.count() == 1
        Loop.objects.update(last_recorded_at=timezone.now() - timedelta(seconds=61))
        work()
        assert LoopRun.objects.count() == 2

    def test_a_failure_is_recorded_logged_and_raised(self, does: Does, caplog: pytest.LogCaptureFixture) -> None:
        does(fail)
        with pytest.raises(RuntimeError):
            work()
        assert the_loop().last_outcome == LoopRun.objects.get().outcome == "failed"
        assert the_loop().last_error == "RuntimeError: token=*** was refused"
        assert [(r.levelname, r.message) for r in caplog.records] == [("ERROR", "Error in the test loop")]

    def test_a_time_limit_is_a_failure_too(self, does: Does) -> None:
        def overrun() -> None:
            raise SystemExit("Task exceeded maximum timeout value (60 seconds)")

        does(overrun)
        with pytest.raises(SystemExit):
            work()
        assert the_loop().last_outcome == "failed"
        assert the_loop().lease_token is None

    @pytest.mark.parametrize(("result", "kept"), [({1}, "{1}"), (float("nan"), "nan")])
    def test_a_result_that_is_no_json_is_kept_as_text(self, does: Does, result: Any, kept: str) -> None:
        does(lambda: result)
        work()
        assert LoopRun.objects.get().result == kept

    def test_each_run_has_a_correlation_id_of_its_own(self, does: Does) -> None:
        clear_correlation_id()  # what a test before this one left behind
        seen: list[str | None] = []
        does(lambda: seen.append(current_correlation_id()))
        work(), work()
        assert None not in seen
        assert len(set(seen)) == 2
        assert current_correlation_id() is None

    def test_a_task_keeps_the_id_that_it_came_with(self, does: Does) -> None:
        seen: list[str | None] = []
        does(lambda: seen.append(current_correlation_id()))
        with correlation("of-the-task"):
            work()
        assert seen == ["of-the-task"]


class TestLease:
    def test_a_run_that_goes_on_is_not_doubled(self, does: Does) -> None:
        seen: list[str] = []
        does(lambda: seen.append(work(**a_tick(0))))
        work()
        assert seen == ["skipped: the previous run has not ended"]
        assert the_loop().last_outcome == "ok"

    def test_the_lease_of_a_killed_run_runs_out(self) -> None:
        assert take_lease("test loop")
        assert take_lease("test loop") is None
        Loop.objects.update(lease_until=timezone.now() - timedelta(milliseconds=1))
        assert take_lease("test loop")

    def test_a_lease_runs_out_within_half_a_minute(self) -> None:
        take_lease("test loop")
        assert lease_until() <= timezone.now() + timedelta(seconds=30)

    def test_a_run_that_lost_its_lease_says_nothing_over_the_one_that_has_it(self, does: Does) -> None:
        does(lambda: Loop.objects.update(lease_token="another's"))
        work()
        assert (the_loop().lease_token, the_loop().last_finished_at) == ("another's", None)

    @pytest.mark.django_db(transaction=True)
    def test_of_many_at_once_one_runs(self) -> None:
        start, tokens = threading.Barrier(6), []

        def take() -> None:
            start.wait()
            tokens.append(take_lease("test loop"))
            connection.close()

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(tokens) == 6
        assert len([token for token in tokens if token]) == 1

    @pytest.mark.django_db(transaction=True)
    def test_a_long_run_renews_its_lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loops, "RENEW_SECONDS", 0.01)
        token = take_lease("test loop")
        assert token
        first = lease_until()
        with KeptLease(Run("test loop", token, "")) as kept:
            wait_until(lambda: lease_until() > first)
        kept.timer.join(5)
        assert not kept.timer.is_alive()


class TestStaleTicks:
    @pytest.fixture(autouse=True)
    def loop_row(self) -> None:
        """The beat has made the row before the first tick."""
        Loop.objects.create(name="test loop", interval_seconds=5)

    def test_a_tick_whose_successor_is_due_is_skipped(self) -> None:
        assert work(**a_tick(age=6)) == "skipped: the tick is 6 s old"
        assert LoopRun.objects.get().outcome == "skipped"
        assert the_loop().last_started_at is None

    def test_a_tick_in_time_is_run(self) -> None:
        work(**a_tick(age=4))
        assert the_loop().last_outcome == "ok"

    def test_a_backlog_of_stale_ticks_leaves_one_row(self) -> None:
        for _ in range(5):
            work(**a_tick(age=60))
        assert LoopRun.objects.count() == 1


class TestHousekeeping:
    def test_what_is_older_than_a_day_goes(self) -> None:
        row = Loop.objects.create(name="test loop", interval_seconds=5)
        now = timezone.now()
        for age in (timedelta(hours=23), timedelta(hours=25)):
            LoopRun.objects.create(loop=row, started_at=now - age, duration_ms=1, outcome="ok")
            Task.objects.create(id=str(age), name="t", func="f", started=now - age, stopped=now - age)
        deleted = housekeep()
        assert {name: count for name, count in deleted.items() if count} == {"tasks": 1, "loop_runs": 1}
        assert LoopRun.objects.filter(loop=row).count() == Task.objects.count() == 1

    @pytest.mark.sqlite
    def test_sqlite_gets_to_know_how_its_rows_are_spread(self) -> None:
        Loop.objects.create(name="test loop", interval_seconds=5)
        housekeep()
        with connection.cursor() as cursor:
            cursor.execute("SELECT stat FROM sqlite_stat1 WHERE tbl = 'cloudtrain_site_loop'")
            assert cursor.fetchone()
