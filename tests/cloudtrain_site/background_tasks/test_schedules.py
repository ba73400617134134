"""The schedule rows follow the configuration, and the beat fires each that is due, once."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from croniter import croniter
from django.db import InternalError, OperationalError, connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule, Task
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage

from cloudtrain_site import extensions
from cloudtrain_site.background_tasks import schedules
from cloudtrain_site.background_tasks.beat import fire_due
from cloudtrain_site.background_tasks.schedules import (
    ScheduleRows,
    cron_of,
    tick_after,
    tick_before,
)
from cloudtrain_site.extensions import LoopSpec
from cloudtrain_site.models import Loop

NOW = datetime(2026, 5, 4, 12, 0, 2, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)


class Setting:
    """A loop's settings, as a test changes them."""

    seconds = 5.0
    is_enabled = True
    is_broken = False


setting = Setting()


def is_enabled() -> bool:
    """What a loop's `is_enabled` path names."""
    if setting.is_broken:
        raise RuntimeError("no such setting")
    return setting.is_enabled


@pytest.fixture(autouse=True)
def fresh_setting() -> Iterator[None]:
    setting.seconds, setting.is_enabled, setting.is_broken = 5.0, True, False
    yield


NAME = "test loop"
SPEC = LoopSpec("tests.cloudtrain_site.tasks.count", lambda: setting.seconds, is_enabled=f"{__name__}.is_enabled")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ScheduleRows:
    """The rows of one loop of the tests, in place of our own loops."""
    monkeypatch.setattr(extensions, "loops", {NAME: SPEC})
    return ScheduleRows(extensions.loops)


def now() -> datetime:
    return timezone.now()


def the_row() -> Schedule:
    return Schedule.objects.get(name=NAME)


def add_row(**fields: Any) -> Schedule:
    """A row as a person adds it in the admin, due since a second."""
    fields = {"func": "math.sqrt", "schedule_type": Schedule.MINUTES, "minutes": 1, **fields}
    return Schedule.objects.bulk_create([Schedule(next_run=now() - timedelta(seconds=1), **fields)])[0]


def enqueued() -> list[dict[str, Any]]:
    return [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]


class TestTicks:
    @pytest.mark.parametrize("seconds", [1, 2, 5, 15, 30, 60, 120, 300, 1800, 3600, 7200, 43200, 86400])
    def test_cron_says_the_same_ticks(self, seconds: int) -> None:
        cron = cron_of(seconds)
        at = croniter(cron, NOW).get_next(datetime)
        assert at == tick_after(NOW, seconds)
        assert croniter(cron, at).get_next(datetime) == at + timedelta(seconds=seconds)

    @pytest.mark.parametrize("seconds", [7, 45, 90, 7.5, 420, 5400, 18000, 172800])
    def test_cron_cannot_say_every_interval(self, seconds: float) -> None:
        assert cron_of(seconds) is None

    def test_five_seconds_have_six_fields_with_the_seconds_last(self) -> None:
        assert cron_of(5) == "* * * * * */5"

    @pytest.mark.parametrize("seconds", [5, 7, 45, 90, 3600])
    def test_now_lies_between_two_ticks(self, seconds: float) -> None:
        before, after = tick_before(NOW, seconds), tick_after(NOW, seconds)
        assert before <= NOW < after == before + timedelta(seconds=seconds)


@pytest.mark.django_db
class TestRows:
    def test_a_row_is_made(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        row = the_row()
        assert (row.cron, row.schedule_type) == ("* * * * * */5", Schedule.CRON)
        assert row.next_run == datetime(2026, 5, 4, 12, 0, 5, tzinfo=UTC)

    def test_a_second_look_writes_nothing(self, rows: ScheduleRows, django_assert_num_queries: Any) -> None:
        rows.sync(NOW)
        with django_assert_num_queries(2):
            rows.sync(NOW)

    def test_a_changed_interval_moves_the_next_run(self, rows: ScheduleRows) -> None:
        setting.seconds = 3600
        rows.sync(NOW)
        setting.seconds = 5
        rows.sync(NOW)
        assert the_row().next_run == datetime(2026, 5, 4, 12, 0, 5, tzinfo=UTC)
        assert Loop.objects.get(pk=NAME).interval_seconds == 5

    @pytest.mark.parametrize(
        ("seconds", "kind", "minutes"),
        [(45, Schedule.ONCE, None), (7, Schedule.ONCE, None), (420, Schedule.MINUTES, 7)],
    )
    def test_what_cron_cannot_say_is_shown_truly(
        self, rows: ScheduleRows, seconds: float, kind: str, minutes: int | None
    ) -> None:
        setting.seconds = seconds
        rows.sync(NOW)
        row = the_row()
        assert (row.schedule_type, row.minutes, row.cron) == (kind, minutes, None)
        assert row.kwargs == repr({"every": float(seconds)})

    def test_a_loop_that_is_no_longer_wanted_loses_its_row(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        setting.is_enabled = False
        rows.sync(NOW)
        assert not Schedule.objects.exists()
        assert not Loop.objects.get(pk=NAME).enabled

    def test_it_gets_its_row_back(self, rows: ScheduleRows) -> None:
        setting.is_enabled = False
        rows.sync(NOW)
        setting.is_enabled = True
        rows.sync(LATER)
        assert the_row().next_run == tick_after(LATER, 5)
        assert Loop.objects.get(pk=NAME).wanted_since == LATER

    def test_a_setting_that_cannot_be_read_leaves_the_row(
        self, rows: ScheduleRows, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows.sync(NOW)
        setting.is_broken = True
        rows.sync(NOW)
        rows.sync(NOW)
        assert the_row()
        assert [record.message for record in caplog.records].count("Settings of a loop could not be read") == 1

    @pytest.mark.parametrize(
        "edit", [{"cron": "0 0 1 1 * 0"}, {"kwargs": ""}, {"next_run": None}, {"next_run": NOW + timedelta(days=365)}]
    )
    def test_an_edited_row_is_put_right(self, rows: ScheduleRows, edit: dict[str, Any]) -> None:
        rows.sync(NOW)
        Schedule.objects.update(**edit)
        rows.sync(NOW)
        assert (the_row().cron, the_row().next_run) == ("* * * * * */5", tick_after(NOW, 5))

    def test_a_doubled_row_is_removed(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        add_row(name=NAME, func=SPEC.task)
        rows.sync(NOW)
        assert the_row().cron == "* * * * * */5"

    def test_rows_of_people_are_left_alone(self, rows: ScheduleRows) -> None:
        same_task, same_name = add_row(name="nightly", func=SPEC.task), add_row(name=NAME, func="math.sqrt")
        setting.is_enabled = False
        rows.sync(NOW)
        assert set(Schedule.objects.values_list("pk", flat=True)) == {same_task.pk, same_name.pk}

    def test_machines_that_differ_do_not_overwrite_each_other_at_every_look(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        setting.seconds = 30
        ScheduleRows({NAME: SPEC}).sync(NOW)
        setting.seconds = 5
        rows.sync(NOW)
        assert the_row().cron == "* * * * * */30"

    def test_our_own_loops_have_their_documented_intervals(self) -> None:
        plans = {name: schedules.plan_of(name, spec) for name, spec in extensions.loops.items()}
        assert {name: plan.seconds for name, plan in plans.items()} == {
            "queue processing": 5,
            "budgets": 30,
            "fuses": 15,
            "job status polling": 30,
            "job upkeep": 30,
            "cluster looks": 30,
            "notice delivery": 10,
            "approval expiration": 300,
            "housekeeping": 3600,
        }


@pytest.mark.django_db
class TestLoopsOnTheBeat:
    def test_a_tick_knows_its_moment(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        fire_due(LATER)
        [task] = enqueued()
        assert task["kwargs"] == {"every": 5.0, "intended": "2026-05-04T12:00:10+00:00"}
        assert (task["group"], the_row().task) == (NAME, task["id"])

    def test_after_an_hour_there_is_one_run(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        late = NOW + timedelta(hours=1)
        fire_due(late)
        fire_due(late)
        assert len(enqueued()) == 1
        assert the_row().next_run == tick_after(late, 5)

    @pytest.mark.parametrize("seconds", [7, 45, 90])
    def test_an_odd_interval_is_armed_again(self, rows: ScheduleRows, seconds: float) -> None:
        setting.seconds = seconds
        rows.sync(NOW)
        due = the_row().next_run
        fire_due(due)
        assert the_row().next_run == due + timedelta(seconds=seconds)

    def test_the_rows_of_an_older_version_go_on(self, rows: ScheduleRows) -> None:
        """As main wrote them before people's rows went to the library's scheduler, due since that version stopped."""
        due = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
        fields = {"name": NAME, "func": SPEC.task, "kwargs": "{'every': 5.0}", "intended_date_kwarg": "intended"}
        Schedule.objects.bulk_create(
            [Schedule(schedule_type=Schedule.CRON, cron="* * * * * */5", next_run=due, task="old", **fields)]
        )
        for now in (NOW, NOW + timedelta(seconds=1)):
            rows.sync(now)
            fire_due(now)
        assert [task["kwargs"]["intended"] for task in enqueued()] == [due.isoformat()]
        assert the_row().next_run == tick_after(NOW, 5)


@pytest.mark.django_db(transaction=True)
class TestRowsOfPeople:
    """django-q2's scheduler fires them; it looks at the clock itself, and closes a connection that is in a test's."""

    def test_each_run_has_a_correlation_id_of_its_own(self) -> None:
        add_row(), add_row()
        fire_due(now())
        assert len({task["correlation_id"] for task in enqueued()}) == 2

    def test_a_row_is_fired_with_its_arguments(self) -> None:
        row = add_row(args="1, 'two'", kwargs="x=[3], q_options={'timeout': 9}", intended_date_kwarg="at")
        fire_due(now())
        [task] = enqueued()
        assert (task["args"], task["kwargs"]["x"], task["timeout"]) == ((1, "two"), [3], 9)
        assert task["kwargs"]["at"] == row.next_run.isoformat()

    @pytest.mark.parametrize(
        "bad",
        [
            {"args": "1, os.remove("},
            {"kwargs": "[1]"},
            {"kwargs": "**{'x': 1}"},
            {"schedule_type": Schedule.CRON, "cron": "61 * * * *"},
            {"schedule_type": Schedule.CRON, "cron": None},
            {"schedule_type": Schedule.CRON, "cron": "0 0 31 2 *"},
        ],
    )
    def test_a_bad_row_stops_no_other(self, bad: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        before = now()
        broken, good = add_row(name="broken", **bad), add_row(name="good")
        fire_due(before)
        broken.refresh_from_db()
        assert broken.next_run == before + timedelta(minutes=1)
        assert [task["group"] for task in enqueued()] == [good.name]
        assert "Schedule could not be fired" in caplog.messages

    def test_a_bad_row_shows_its_error_in_the_admin(self) -> None:
        row = add_row(name="broken", args="1, (")
        fire_due(now())
        Schedule.objects.update(next_run=now())
        fire_due(now())
        row.refresh_from_db()
        failure = Task.objects.get(id=row.task)
        assert (failure.success, failure.attempt_count) == (False, 2)
        assert failure.result.startswith("SyntaxError")

    def test_a_row_that_runs_once_is_gone_afterwards(self) -> None:
        add_row(schedule_type=Schedule.ONCE)
        fire_due(now())
        assert len(enqueued()) == 1
        assert not Schedule.objects.exists()

    def test_repeats_count_down(self) -> None:
        row = add_row(repeats=1)
        fire_due(now())
        Schedule.objects.update(next_run=now())
        fire_due(now())
        row.refresh_from_db()
        assert (row.repeats, len(enqueued())) == (0, 1)

    @pytest.mark.parametrize("kind", [Schedule.MINUTES, Schedule.HOURLY])
    def test_a_row_that_slept_for_years_runs_once(self, kind: str) -> None:
        row, before = add_row(schedule_type=kind), now()
        Schedule.objects.update(next_run=before - timedelta(days=4000))
        began = time.monotonic()
        fire_due(before)
        assert time.monotonic() - began < 5  # ten times as long, and the database locked, by counting each minute
        row.refresh_from_db()
        assert row.next_run in (before + timedelta(minutes=1), before + timedelta(hours=1))
        assert len(enqueued()) == 1

    def test_a_row_for_another_cluster_is_left_to_it(self) -> None:
        row = add_row(cluster="another")
        fire_due(now())
        assert enqueued() == []
        assert Schedule.objects.get(pk=row.pk).next_run == row.next_run

    def test_the_librarys_scheduler_still_lets_itself_be_run_for_one_row(self) -> None:
        used = scheduler.__code__.co_names
        assert {"Schedule", "objects", "logger"} <= set(used), (
            "django-q2's scheduler finds its rows or logs its errors in another way than beat.py replaces"
        )


@pytest.mark.django_db(transaction=True)
class TestTroubledDatabase:
    def test_a_database_that_writes_nothing_is_no_fault_of_the_rows(
        self, rows: ScheduleRows, caplog: pytest.LogCaptureFixture
    ) -> None:
        # PostgreSQL says of a standby that it has an "internal error".
        refusal = InternalError("cannot execute UPDATE in a read-only transaction")
        refusal.__cause__ = OSError(errno.EROFS, "read-only")

        def refuse_writes(execute: Any, sql: str, *rest: Any) -> Any:
            if sql.startswith("UPDATE"):
                raise error
            return execute(sql, *rest)

        rows.sync(NOW)
        add_row(name="first"), add_row(name="second")
        for error in (OperationalError("database or disk is full"), refusal):
            with connection.execute_wrapper(refuse_writes), pytest.raises(type(error), match=str(error)):
                fire_due(now())
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
        assert enqueued() == []
        fire_due(now())
        assert len(enqueued()) == 3


@pytest.mark.django_db(transaction=True)
class TestManyMachines:
    def test_each_row_is_fired_by_one_beat(self, rows: ScheduleRows) -> None:
        rows.sync(NOW)
        add_row(), add_row(schedule_type=Schedule.ONCE), add_row(schedule_type=Schedule.CRON, cron="0 0 1 1 *")
        at_once(lambda: fire_due(now()))
        assert get_broker().queue_size() == 4

    def test_one_row_is_made(self, rows: ScheduleRows) -> None:
        at_once(lambda: ScheduleRows({NAME: SPEC}).sync(NOW))
        assert the_row()

    def test_a_failing_enqueue_leaves_the_tick(self, rows: ScheduleRows, monkeypatch: pytest.MonkeyPatch) -> None:
        """The row and its task are one transaction: what isn't enqueued isn't moved on either, but parked."""
        rows.sync(NOW)
        monkeypatch.setattr("cloudtrain_site.background_tasks.beat.async_task", lambda *args, **kwargs: 1 / 0)
        fire_due(LATER)
        assert not OrmQ.objects.exists()
        assert the_row().next_run == LATER + timedelta(minutes=1)


def at_once(work: Any, machines: int = 4) -> list[Any]:
    """What `work` returns in several threads that start at the same moment, each with a connection of its own."""
    start, results = threading.Barrier(machines), []

    def run() -> None:
        start.wait()
        try:
            results.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == machines
    return results
